// Package flare calls the Flare services: it logs in and keeps the access token fresh, gives calls a deadline, turns
// statuses into typed errors, and follows jobs over streams that re-attach by themselves.
package flare
