package app_test

// tlsCommands work real TLS and HTTP servers, proxies, resolvers and
// certificate files in a story.
var tlsCommands = map[string]command{}
