package app_test

// systemCommands work the host that a story runs on.
var systemCommands = map[string]command{}
