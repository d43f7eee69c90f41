"""Files on their way to the server, in as many calls as it takes."""
