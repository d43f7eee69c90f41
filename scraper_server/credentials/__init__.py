"""People's own credentials at sources: encrypted where they are kept, told to nobody."""
