package app_test

// sshCommands work real SSH servers in a story.
var sshCommands = map[string]command{}
