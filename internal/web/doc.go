// Package web is the embedded page: what people look at to see whether all is
// well, why not, and what to do. Pages are rendered on the server and work
// without JavaScript; a small script patches text in place from a stream.
//
// It decides who may see and do what in a browser: one-time links, sessions,
// roles. It knows the agent only through the interfaces it declares, keeps no
// state of its own but sessions, and judges nothing.
package web
