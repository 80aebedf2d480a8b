// Package wire is the JSON of the API, the command line and the page: plain
// structs without behaviour. Field names are the contract of docs; they are
// never renamed. Times are RFC 3339 UTC.
package wire
