// Package kmiptest is a real key server for tests, drills and demonstrations: it listens on a port, speaks KMIP 1.0 to
// 1.4, 2.0 and 2.1 over mutual TLS, keeps objects with their whole life, and misbehaves when asked to. Nobody should
// trust keys to it: it keeps them as they are, in memory or in a folder.
//
//	pki, err := kmiptest.NewPKI("test")
//	server, err := pki.Issue(kmiptest.CertRequest{})
//	s, err := kmiptest.Start(ctx, kmiptest.Options{Certificate: server.TLS, ClientCAs: pki.Pool()})
//	defer s.Close()
//	c, err := kmip.Dial(ctx, s.Address(), config, kmip.Options{})
//
// [Options] give a server its vendor text, role among other servers, versions, operations and the rights of its
// clients; [Server.Set] changes them while it runs, [Server.Down] and [Server.Up] switch it off and on, [Server.Follow]
// has it take over the objects of another server with a lag. A [Fault] makes it refuse, stall, lose answers, or answer
// what no server should; [Server.Lose] and [Server.Overwrite] damage what it holds. A [PKI] makes the certificates.
//
// Requests are handled as trees of items and not by the types of package kmip, so that the client of that package has
// a peer that does not share its mistakes. Which answer a request gets follows KMIP 1.4 section 11 and 2.1 section 11;
// the OASIS test cases judge it.
//
// How to ask a key server is not here but in package kmip; nothing here is part of the agent but the servers of its
// drills.
package kmiptest
