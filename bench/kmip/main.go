// Command kmip measures our KMIP client beside that of another maker, ovh/kmip-go, on the same servers in one run: Get
// of an AES-256 key over mutual TLS on loopback, against kmiptest in a process of its own and against PyKMIP. It is a
// module of its own, so that the other maker's client never enters the program's dependencies.
//
//	go -C bench/kmip run . [-time 1s] [-rounds 5]
//
// How to read the figures: each call is checked to bring the right key. Processor time and allocations are those of the
// process of the client, measured on one connection; the server has its own. Processor time depends least on what else
// the machine does. In a round every pair of client and server has its turn; the median of the rounds counts. On a
// small machine eight connections measure client and server together, as they share the processors.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"
)

func main() {
	serve := flag.String("serve", "", "serve with the credentials of this folder; the program starts itself with it")
	length := flag.Duration("time", time.Second, "of one measurement")
	rounds := flag.Int("rounds", 5, "rounds; the median counts")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if *serve != "" {
		err = serveUntilEOF(ctx, *serve)
	} else {
		err = run(ctx, *length, *rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/kmip:", err)
		os.Exit(1)
	}
}

// pair is a client on a server, with what was measured of it, one figure a round.
type pair struct {
	client maker
	server *server
	one    []sample // over one connection
	eight  []sample
}

// connections of the second measurement.
const connections = 8

func run(ctx context.Context, length time.Duration, rounds int) (err error) {
	if rounds < 1 || length <= 0 {
		return fmt.Errorf("%d rounds of %s: at least one, of some time", rounds, length)
	}
	dir, err := os.MkdirTemp("", "bench-kmip-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	servers, missing, err := start(ctx, dir)
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.close())
		}
	}()
	if err != nil {
		return err
	}
	var pairs []*pair
	for _, s := range servers {
		for _, m := range makers() {
			pairs = append(pairs, &pair{client: m, server: s})
		}
	}
	load := loadAverage()
	for round := range rounds {
		turns := slices.Clone(pairs)
		if round%2 == 1 { // what comes first on a server gains or loses by it
			slices.Reverse(turns)
		}
		for _, p := range turns {
			if err := p.measure(ctx, length); err != nil {
				return fmt.Errorf("%s on %s: %w", p.client.name, p.server.name, err)
			}
		}
	}
	report(os.Stdout, pairs, missing, load, length)
	return nil
}

func (p *pair) measure(ctx context.Context, length time.Duration) error {
	one, err := measure(ctx, p.client, p.server, 1, length)
	if err != nil {
		return err
	}
	eight, err := measure(ctx, p.client, p.server, connections, length)
	if err != nil {
		return err
	}
	p.one, p.eight = append(p.one, one), append(p.eight, eight)
	return nil
}
