package web

const keyServerName = "keyserver" // the subsystem
