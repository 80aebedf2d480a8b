package kmiptest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

// A server, a client, and a fault.
func Example() {
	ctx := context.Background()
	pki, err := kmiptest.NewPKI("example")
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := pki.Issue(kmiptest.CertRequest{})
	if err != nil {
		fmt.Println(err)
		return
	}
	me, err := pki.Issue(kmiptest.CertRequest{CommonName: "me"})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := kmiptest.Start(ctx, kmiptest.Options{Certificate: server.TLS, ClientCAs: pki.Pool(), Vendor: "IBM SKLM 4.1.1.0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	config := &tls.Config{RootCAs: pki.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{me.TLS}}
	c, err := kmip.Dial(ctx, s.Address(), config, kmip.Options{Timeout: time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	key, err := c.CreateKey(ctx, kmip.KeySpec{Name: "volume", Algorithm: kmip.CryptographicAlgorithmAES, Bits: 256})
	fmt.Println("create:", err)
	if err := s.Break(kmiptest.Fault{Kind: kmiptest.Missing, ID: key.UniqueID}); err != nil {
		fmt.Println(err)
	}
	_, err = c.GetKey(ctx, key.UniqueID)
	if refused, ok := errors.AsType[*kmip.Error](err); ok {
		fmt.Println("get:", refused.Reason)
	}
	s.ClearFaults()
	_, err = c.GetKey(ctx, key.UniqueID)
	fmt.Println("get:", err)
	// Output:
	// create: <nil>
	// get: Item Not Found
	// get: <nil>
}
