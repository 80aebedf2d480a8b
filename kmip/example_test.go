package kmip_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"allclear/kmip"
)

// Fetch a key, and tell apart what may go wrong.
func ExampleClient_GetKey() {
	fetch := func(ctx context.Context, config *tls.Config) error {
		c, err := kmip.Dial(ctx, "keys.example:5696", config, kmip.Options{})
		if err != nil {
			return err
		}
		defer c.Close()
		key, err := c.GetKey(ctx, "7f3a")
		if err != nil {
			return err
		}
		defer clear(key.Bytes)
		fmt.Println(key.Algorithm, len(key.Bytes), key.Bytes)
		return nil
	}
	err := fetch(context.Background(), nil)
	if e, ok := errors.AsType[*kmip.Error](err); ok {
		fmt.Println("the server refused:", e.Reason)
	} else if e, ok := errors.AsType[*kmip.TransportError](err); ok {
		fmt.Println("no answer:", e)
	}
	// Output: no answer: connect to key server keys.example:5696: no TLS configuration: KMIP is never spoken in the clear
}
