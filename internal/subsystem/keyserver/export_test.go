package keyserver

import "context"

// EndRenewal does what Run does once an hour.
func (k *KeyServers) EndRenewal(ctx context.Context) error { return k.endRenewal(ctx) }
