// Package notify tells receivers of faults: webhooks, chat rooms, Alertmanager,
// syslog, mail, SNMP managers and journald.
//
// Each receiver has a courier of its own, which compares what is believed now
// with the durable record of what the receiver was told and sends the
// difference. Nothing is an edge: a message that was lost, a receiver that was
// down for a day, a crash of the agent between a message and its record all
// end in the same comparison. Whoever may have heard of a raise hears of the
// clear: the record is opened before the first message is tried and completed
// after its answer. A message may therefore arrive twice, under the same id;
// it never stays away.
//
// What is not here: what is believed and who was told what (package journal),
// when something is due or hidden (package fault), and how the sinks are
// written in the configuration (package config; package app joins the two).
package notify
