package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"allclear/internal/api/client"
	"allclear/internal/fault"
	"allclear/internal/lab"
	"allclear/internal/wire"
)

// notifyCommands work a receiver of messages.
var notifyCommands = map[string]command{"hook": cmdHook, "believes": cmdBelieves, "zombies": cmdZombies}

// hook is a receiver that believes what it is told.
type hook struct {
	mu       sync.Mutex // guards the fields below
	down     bool
	deaf     bool // it takes messages and gives no good answer
	believes map[string]bool
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var e struct {
		Type string
		Data wire.Fault
	}
	if h.down || json.NewDecoder(r.Body).Decode(&e) != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	key := string(e.Data.Code) + "@" + e.Data.Resource
	switch e.Type {
	case "allclear.fault.raise", "allclear.fault.change":
		h.believes[key] = true
	case "allclear.fault.clear":
		delete(h.believes, key)
	}
	if h.deaf {
		w.WriteHeader(http.StatusGatewayTimeout)
	}
}

func (h *hook) set(down, deaf bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down, h.deaf = down, deaf
}

func (h *hook) known() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.believes))
}

// hook NAME starts a receiver and puts its address into NAME; hook NAME
// up|down|deaf changes it.
func cmdHook(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 1 {
		h := &hook{believes: map[string]bool{}}
		srv := httptest.NewServer(h)
		ts.Defer(srv.Close)
		keep(ts, args[0], h)
		publish(ts, args[0], strings.TrimPrefix(srv.URL, "http://"))
		return
	}
	if len(args) != 2 || !slices.Contains([]string{"up", "down", "deaf"}, args[1]) {
		ts.Fatalf("usage: hook NAME [up|down|deaf]")
	}
	kept[*hook](ts, args[0]).set(args[1] == "down", args[1] == "deaf")
}

// believes NAME CODE@RESOURCE... waits until the receiver believes in exactly
// these.
func cmdBelieves(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("which receiver?")
	}
	h, want := kept[*hook](ts, args[0]), slices.Sorted(slices.Values(args[1:]))
	if err := await("the receiver to agree", func() bool { return slices.Equal(h.known(), want) }); err != nil {
		ts.Fatalf("%v: it believes in %q, want %q", err, h.known(), want)
	}
}

// zombies HOOK SEED N SERVER... does N random things with the agent, the
// receiver and the servers that it watches; the agent is killed with SIGKILL
// again and again. At the end everything is up, and the receiver believes
// exactly what the agent does.
func cmdZombies(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 4 {
		ts.Fatalf("usage: zombies HOOK SEED N SERVER...")
	}
	seed, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	z := &chaos{ts: ts, s: storyOf(ts), hook: kept[*hook](ts, args[0]), rand: rand.New(rand.NewPCG(seed, 1))}
	for _, name := range args[3:] {
		z.servers = append(z.servers, kept[*lab.TLSServer](ts, name))
	}
	for range n {
		z.step()
	}
	z.settle()
}

// chaos does random things.
type chaos struct {
	ts      *testscript.TestScript
	s       *story
	hook    *hook
	servers []*lab.TLSServer
	rand    *rand.Rand
}

func (z *chaos) step() {
	server := z.servers[z.rand.IntN(len(z.servers))]
	what := z.rand.IntN(9)
	switch what {
	case 0, 1:
		manner := []lab.Manner{lab.ResetAtOnce, lab.CloseAfterHello, lab.Garbage}[z.rand.IntN(3)]
		server.Set(func(o *lab.TLSOptions) { o.Manner = manner })
	case 2, 3:
		server.Set(func(o *lab.TLSOptions) { o.Manner = lab.Serve })
	case 4:
		z.hook.set(true, false)
	case 5:
		z.hook.set(false, true)
	case 6:
		z.hook.set(false, false)
	case 7:
		z.operate()
	case 8: // in the middle of whatever it does
		verify := z.command("verify")
		z.ts.Check(verify.Start())
		time.AfterFunc(time.Duration(z.rand.IntN(150))*time.Millisecond, func() { _ = z.s.agent.Process.Kill() })
		_ = verify.Wait() // it may have lost its agent
		_ = z.s.agent.Wait()
		z.s.agent = nil
		z.ts.Check(z.s.start(z.ts, nil))
	}
	_ = z.command("verify").Run() // 3 says that faults are active
}

func (z *chaos) command(args ...string) *exec.Cmd {
	program, err := lookPath("allclear", z.ts.Getenv("PATH"))
	z.ts.Check(err)
	c := exec.Command(program, args...)
	c.Env = []string{"ALLCLEAR_SOCKET=" + z.s.socket, "HOME=" + z.ts.Getenv("HOME"), "PATH=" + z.ts.Getenv("PATH")}
	return c
}

// operate says an operator's word on some active fault.
func (z *chaos) operate() {
	c := client.New(z.s.socket)
	defer c.Close()
	list, err := c.Faults(context.Background(), client.Filter{})
	z.ts.Check(err)
	if len(list.Items) == 0 {
		return
	}
	f := list.Items[z.rand.IntN(len(list.Items))]
	r := wire.OperatorRequest{Op: fault.OpAck, Reason: "chaos"}
	if z.rand.IntN(2) == 0 {
		r.Op, r.For = fault.OpShelve, "1h"
	}
	_, _ = c.Operate(context.Background(), fmt.Sprint(f.ID), r) // it may have cleared meanwhile
}

// settle lets everything work again and demands that the receiver agrees.
func (z *chaos) settle() {
	z.hook.set(false, false)
	z.ts.Check(z.s.end(syscall.SIGKILL))
	z.ts.Check(z.s.start(z.ts, nil))
	_ = z.command("verify").Run() // 3 says that faults are active
	c := client.New(z.s.socket)
	defer c.Close()
	var must, may []string
	for f, err := range c.AllFaults(context.Background(), client.Filter{}) {
		z.ts.Check(err)
		if f.Code == "system/notify-failed" {
			continue // nobody is told of their own
		}
		key := string(f.Code) + "@" + f.Resource
		may = append(may, key)
		if f.Shelf == nil && len(f.MaskedBy) == 0 {
			must = append(must, key)
		}
	}
	agrees := func() bool {
		known := z.hook.known()
		return !slices.ContainsFunc(known, func(k string) bool { return !slices.Contains(may, k) }) &&
			!slices.ContainsFunc(must, func(k string) bool { return !slices.Contains(known, k) })
	}
	if err := await("the receiver to agree", agrees); err != nil {
		z.ts.Fatalf("%v: it believes in %q; active are %q, of these not hidden %q", err, z.hook.known(), may, must)
	}
}
