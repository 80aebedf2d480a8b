package keyserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"allclear/internal/fault"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/wire"
	"allclear/kmip/kmiptest"
)

// bare configures no server.
func bare(*node) []keyserver.Server { return nil }

func TestAServerThatIsAddedIsValidatedAtOnceAndKept(t *testing.T) {
	n := newNode(t, bare)
	in := n.addition("ks1", n.master)
	in.Primary = true
	reply := must(act[wire.KeyServerReply](n, "add", in))(t)
	if reply.Server.Status != "online" || reply.Server.Origin != "command" || reply.Server.Last == nil || !reply.Server.Last.OK || !reply.Server.Primary {
		t.Errorf("answered %+v", reply.Server)
	}
	n.clone.Down()
	reply = must(act[wire.KeyServerReply](n, "add", n.addition("ks2", n.clone)))(t)
	if reply.Server.Status != "offline" || !n.active(keyserver.CodeUnreachable, "ks2") {
		t.Errorf("a server that is down: %+v", reply.Server)
	}
	n.stop()
	n.open()
	if got := names(n); !slices.Equal(got, []string{"ks1", "ks2"}) {
		t.Errorf("after a restart there are %v", got)
	}
}

func names(n *node) (all []string) {
	for _, s := range view[wire.List[wire.KeyServer]](n, "servers", "").Items {
		all = append(all, s.Name)
	}
	return all
}

func TestBadInputIsRefusedAndNothingIsSaved(t *testing.T) {
	n := newNode(t, bare)
	first := n.addition("ks1", n.master)
	first.Primary = true
	must(act[wire.KeyServerReply](n, "add", first))(t)
	foreign := n.issue(kmiptest.CertRequest{})
	n.file("garbage.pem", []byte("nothing of worth"))
	n.file("other.key", foreign.KeyPEM)
	n.file("empty.pem", nil)
	before := n.stored()
	for name, c := range map[string]struct {
		change func(*wire.KeyServerAdd)
		says   string
	}{
		"no port":                   {func(a *wire.KeyServerAdd) { a.Address = "127.0.0.1" }, "has no port"},
		"no port, IPv6":             {func(a *wire.KeyServerAdd) { a.Address = "[::1]" }, "has no port"},
		"port 0":                    {func(a *wire.KeyServerAdd) { a.Address = "127.0.0.1:0" }, "not 1 to 65535"},
		"no host":                   {func(a *wire.KeyServerAdd) { a.Address = ":5696" }, "no host name"},
		"IPv6 without brackets":     {func(a *wire.KeyServerAdd) { a.Address = "::1:5696" }, "address"},
		"same name":                 {func(a *wire.KeyServerAdd) { a.Name = "ks1" }, `"ks1" is defined already`},
		"same address":              {func(a *wire.KeyServerAdd) { a.Address = first.Address }, "ks1 has the address"},
		"second primary":            {func(a *wire.KeyServerAdd) { a.Primary = true }, "has the primary ks1 already"},
		"another profile":           {func(a *wire.KeyServerAdd) { a.Profile = "pykmip" }, "have profile isklm"},
		"unknown profile":           {func(a *wire.KeyServerAdd) { a.Profile = "vault" }, "is none of"},
		"a name with a slash":       {func(a *wire.KeyServerAdd) { a.Name = "../ks" }, "letters, digits"},
		"certificate is no PEM":     {func(a *wire.KeyServerAdd) { a.ClientCert = "file:garbage.pem" }, "client_cert file:garbage.pem"},
		"certificate file is empty": {func(a *wire.KeyServerAdd) { a.ClientCert = "file:empty.pem" }, "client_cert file:empty.pem"},
		"key of another":            {func(a *wire.KeyServerAdd) { a.ClientKey = "file:other.key" }, "key-mismatch"},
		"key is no PEM":             {func(a *wire.KeyServerAdd) { a.ClientKey = "file:garbage.pem" }, "key-unreadable"},
		"authority is no PEM":       {func(a *wire.KeyServerAdd) { a.CA = "file:garbage.pem" }, "ca file:garbage.pem"},
		"file is not there":         {func(a *wire.KeyServerAdd) { a.ClientCert = "file:gone.pem" }, "no such file"},
		"no certificate":            {func(a *wire.KeyServerAdd) { a.ClientCert = "" }, "client_cert is missing"},
		"no reference":              {func(a *wire.KeyServerAdd) { a.ClientKey = "-----BEGIN" }, "no reference"},
		"a pin that is none":        {func(a *wire.KeyServerAdd) { a.Pin = "SHA256:abc" }, "pin"},
		"a pin that is no base64":   {func(a *wire.KeyServerAdd) { a.Pin = "SHA256:" + strings.Repeat("!", 43) }, "pin"},
	} {
		t.Run(name, func(t *testing.T) {
			in := n.addition("ks2", n.clone)
			c.change(&in)
			_, err := act[wire.KeyServerReply](n, "add", in)
			if _, ok := errors.AsType[*keyserver.RefusedError](err); !ok || !strings.Contains(err.Error(), c.says) {
				t.Errorf("refused with %v, want %q", err, c.says)
			}
			if after := n.stored(); after != before {
				t.Errorf("something was saved:\n%s", after)
			}
		})
	}
	if _, err := act[wire.KeyServerReply](n, "add", map[string]any{"name": "ks3", "adress": "x:1"}); err == nil || !strings.Contains(err.Error(), "adress") {
		t.Errorf("a misspelt field: %v", err)
	}
	if got := names(n); !slices.Equal(got, []string{"ks1"}) {
		t.Errorf("there are %v", got)
	}
}

// stored is the state as it lies on disk.
func (n *node) stored() string {
	n.t.Helper()
	return string(must(os.ReadFile(filepath.Join(n.opts.Dir, "objects.0")))(n.t))
}

func TestSetValidatesAtOnceAndChangesAllOrNothing(t *testing.T) {
	n := newNode(t, bare)
	in := n.addition("ks1", n.master)
	in.Primary, in.Address = true, "127.0.0.1:1"
	must(act[wire.KeyServerReply](n, "add", in))(t)
	if !n.active(keyserver.CodeUnreachable, "ks1") {
		t.Fatal("a wrong port is not told of")
	}
	before := n.stored()
	bad, right, profile := "127.0.0.1", n.master.Address(), "generic"
	if _, err := act[wire.KeyServerReply](n, "set", wire.KeyServerSet{Name: "ks1", Address: &bad, Profile: &profile}); err == nil {
		t.Error("an address without a port was taken")
	}
	if after := n.stored(); after != before {
		t.Errorf("half of it was saved:\n%s", after)
	}
	reply := must(act[wire.KeyServerReply](n, "set", wire.KeyServerSet{Name: "ks1", Address: &right}))(t)
	if n.active(keyserver.CodeUnreachable, "ks1") || reply.Server.Profile != "isklm" || !reply.Server.Last.OK {
		t.Errorf("after the address was set right: %+v", reply.Server)
	}
}

func TestWhatTheFileDefinesIsChangedThere(t *testing.T) {
	n := newNode(t, nil)
	address := "127.0.0.1:9"
	for name, err := range map[string]error{
		"set":    second(act[wire.KeyServerReply](n, "set", wire.KeyServerSet{Name: "ks1", Address: &address})),
		"remove": second(act[wire.KeyServerReply](n, "remove", wire.KeyServerRequest{Name: "ks1"})),
	} {
		if err == nil || !strings.Contains(err.Error(), "configuration file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestTheChosenPrimaryOutlivesARestartButNotANewChoiceOfTheFile(t *testing.T) {
	n := newNode(t, nil)
	reply := must(act[wire.KeyServerReply](n, "set", wire.KeyServerSet{Name: "ks2", Primary: true}))(t)
	if !reply.Server.Primary || !slices.Equal(reply.Queued, []string{"ks1"}) {
		t.Errorf("answered %+v", reply)
	}
	primary := func() string { return view[wire.List[wire.KeyServerGroup]](n, "groups", "").Items[0].Primary }
	n.stop()
	n.open()
	if got := primary(); got != "ks2" {
		t.Errorf("after a restart the primary is %q", got)
	}
	o := n.opts
	o.Servers = []keyserver.Server{n.object("ks1", n.master, false), n.object("ks2", n.clone, false), n.object("ks3", n.start(kmiptest.Master), true)}
	n.fails(n.keys.Configure(o))
	if got := primary(); got != "ks3" {
		t.Errorf("after the file names another the primary is %q", got)
	}
}

// conflict makes ks1, which is defined as the primary, a clone, and has it found.
func conflict(t *testing.T) *node {
	t.Helper()
	n := newNode(t, nil)
	n.become(n.master, is(kmiptest.Clone))
	n.become(n.clone, is(kmiptest.Master))
	n.verify("ks1")
	if !n.active(keyserver.CodePrimaryConflict, "ks1") {
		t.Fatal("no conflict was found")
	}
	return n
}

// A fault belongs to its resource: proving the new primary says nothing of the old
// one (R2-22).
func TestValidatingTheNewPrimaryClearsNothingOfTheOld(t *testing.T) {
	n := conflict(t)
	n.master.Down()
	n.clone.Down() // so that only what is asked for is looked at
	n.look("keyserver.server@ks2", fault.TriggerOperator)
	if !n.active(keyserver.CodePrimaryConflict, "ks1") {
		t.Error("a look at ks2 cleared a fault of ks1")
	}
}

// The three ways in which seed 002 lets event 086009 be fixed: an operator's fix,
// the periodic validation of the old primary, and its test. All work while the old
// primary is off the net.
func TestAPrimaryConflictClearsInThreeWays(t *testing.T) {
	for name, look := range map[string]func(n *node){
		"fix": func(n *node) {
			n.fix(keyserver.CodePrimaryConflict, "ks1")
			if !n.active(keyserver.CodePrimaryConflict, "ks1") {
				n.t.Error("a mark cleared it without a look")
			}
			n.look("keyserver.server@ks1", fault.TriggerOperator) // the agent looks at once
		},
		"timer": func(n *node) { n.look("keyserver.server@ks1", fault.TriggerTimer) },
		"test": func(n *node) {
			must(act[wire.List[wire.KeyServerReply]](n, "test", wire.KeyServerRequest{Name: "ks1"}))(n.t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := conflict(t)
			n.master.Down()
			o := n.opts
			o.Servers = []keyserver.Server{n.object("ks1", n.master, false), n.object("ks2", n.clone, true)}
			n.fails(n.keys.Configure(o)) // the checks are not planned anew: nobody looks but who is asked below
			if !n.active(keyserver.CodePrimaryConflict, "ks1") {
				t.Error("cleared by a definition, without a look")
			}
			look(n)
			if n.active(keyserver.CodePrimaryConflict, "ks1") {
				t.Error("the conflict stands")
			}
			if !n.active(keyserver.CodeUnreachable, "ks1") {
				t.Error("the old primary was reached")
			}
			cleared := slices.ContainsFunc(n.noticed(), func(ev fault.Event) bool {
				return ev.Key == fault.Key{Code: keyserver.CodePrimaryConflict, Resource: "ks1"} && ev.Kind == fault.KindClear && ev.Reason == fault.Verified
			})
			if !cleared {
				t.Error("it was not cleared by proof")
			}
		})
	}
}

// set --primary validates the new primary at once and queues a test of the old one.
func TestSettingThePrimaryQueuesATestOfTheOldOne(t *testing.T) {
	n := conflict(t)
	n.master.Down()
	reply := must(act[wire.KeyServerReply](n, "set", wire.KeyServerSet{Name: "ks2", Primary: true}))(t)
	if !slices.Equal(reply.Queued, []string{"ks1"}) || reply.Server.Last == nil || reply.Server.Last.Trigger != string(fault.TriggerChanged) {
		t.Errorf("answered %+v", reply)
	}
	n.await(keyserver.CodePrimaryConflict, "ks1")
}

// A server that was added as the primary and is one no more can be changed.
func TestAFormerPrimaryCanBeChanged(t *testing.T) {
	n := newNode(t, bare)
	first := n.addition("ks1", n.master)
	first.Primary = true
	must(act[wire.KeyServerReply](n, "add", first))(t)
	must(act[wire.KeyServerReply](n, "add", n.addition("ks2", n.clone)))(t)
	must(act[wire.KeyServerReply](n, "set", wire.KeyServerSet{Name: "ks2", Primary: true}))(t)
	name := "127.0.0.1"
	reply := must(act[wire.KeyServerReply](n, "set", wire.KeyServerSet{Name: "ks1", ServerName: &name}))(t)
	if reply.Server.Primary || reply.Server.ServerName != name {
		t.Errorf("answered %+v", reply.Server)
	}
}

// Whoever defines a server and goes away before it was validated leaves one that is
// looked at all the same.
func TestAServerIsLookedAtThoughNobodyWaitsForIt(t *testing.T) {
	n := newNode(t, bare)
	in := n.addition("ks1", n.master)
	in.Primary = true
	ctx, cancel := context.WithCancel(t.Context())
	actions := n.keys.Actions()
	i := slices.IndexFunc(actions, func(a actionOf) bool { return a.Name == "add" })
	_, err := actions[i].Do(ctx, must(json.Marshal(in))(t), func(wire.Progress) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("whoever went away is answered %v", err)
	}
	if _, err := n.sched.Look(t.Context(), "keyserver.server@ks1", fault.TriggerTimer); err != nil {
		t.Errorf("it has no check: %v", err)
	}
}

// A configuration without the servers of a key that is in use is a fault, not a node
// without key servers.
func TestTakingTheLastServersOutOfTheConfigurationIsAFault(t *testing.T) {
	n := newNode(t, nil)
	n.create()
	o := n.opts
	o.Servers = nil
	n.fails(n.keys.Configure(o))
	n.fails(o.Changed(t.Context()))
	n.look("keyserver.group@main", fault.TriggerOperator)
	for _, code := range []fault.Code{keyserver.CodeAllLost, keyserver.CodeRedundancyLost, keyserver.CodeNoPrimary} {
		if !n.active(code, "main") {
			t.Errorf("%s is not raised", code)
		}
	}
	if text, configured := n.keys.Describe(); !configured || !strings.Contains(text, "in use") {
		t.Errorf("described as %q", text)
	}
	n.fails(n.keys.Configure(n.opts))
	n.fails(n.opts.Changed(t.Context()))
	n.verify("ks1")
	n.verify("ks2")
	n.look("keyserver.group@main", fault.TriggerOperator)
	if n.active(keyserver.CodeAllLost, "main") {
		t.Error("it is lost though its servers are back")
	}
}

func TestRemovalThatWouldOrphanAKeyIsRefused(t *testing.T) {
	n := newNode(t, bare)
	one := n.addition("ks1", n.master)
	one.Primary = true
	must(act[wire.KeyServerReply](n, "add", one))(t)
	n.create()
	refused := func(server, says string) {
		t.Helper()
		_, err := act[wire.KeyServerReply](n, "remove", wire.KeyServerRequest{Name: server})
		if _, ok := errors.AsType[*keyserver.RefusedError](err); !ok || !strings.Contains(err.Error(), says) {
			t.Errorf("remove %s: %v, want a refusal that names %q", server, err, says)
		}
	}
	refused("ks1", n.uid())
	refused("ks1", "secret/mail")
	n.master.Down()
	refused("ks1", "secret/mail") // that it is down makes it no less the last one
	n.fails(n.master.Up(t.Context()))
	must(act[wire.KeyServerReply](n, "add", n.addition("ks2", n.clone)))(t)
	if lost := view[wire.Survivability](n, "survival", "").Lost; len(lost) != 2 || len(lost[0].Things) != 0 {
		t.Errorf("with two servers: %+v", lost)
	}
	n.fails(n.clone.Lose(n.uid()))
	refused("ks1", "secret/mail") // what the other holds is asked now, not remembered
	n.replication = must(n.clone.Follow(n.master, 0))(t)
	reply := must(act[wire.KeyServerReply](n, "remove", wire.KeyServerRequest{Name: "ks1"}))(t)
	if !reply.Removed || !slices.Equal(names(n), []string{"ks2"}) {
		t.Errorf("removed %v, left are %v", reply.Removed, names(n))
	}
	refused("ks2", "secret/mail")
}

func TestADeadServerDelaysNoOther(t *testing.T) {
	n := newNode(t, nil)
	n.breaks(n.clone, kmiptest.Fault{Kind: kmiptest.Stall})
	done := make(chan time.Duration, 1)
	began := time.Now()
	go func() {
		n.look("keyserver.server@ks1", fault.TriggerOperator)
		done <- time.Since(began)
	}()
	list := must(act[wire.List[wire.KeyServerReply]](n, "test", wire.KeyServerRequest{}))(t)
	all := time.Since(began)
	if well := <-done; len(list.Items) != 2 || well >= all {
		t.Errorf("the healthy server answered after %s, the dead one after %s", well, all)
	}
	if !n.active(keyserver.CodeKMIPError, "ks2") || n.active(keyserver.CodeKMIPError, "ks1") {
		t.Error("the wrong server is blamed")
	}
}
