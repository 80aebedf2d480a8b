package keyserver_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"allclear/internal/envelope"
	"allclear/internal/fault"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/subsystem/keyserver/keyring"
	"allclear/internal/wire"
	"allclear/kmip/kmiptest"
)

// opens claims that the node's secret is what was sealed.
func (n *node) opens(id, want string) envelope.Info {
	n.t.Helper()
	b, info, err := n.keys.Keeper().Open(n.t.Context(), id)
	if err != nil || string(b) != want {
		n.t.Fatalf("open %s: %q, %v; want %q", id, b, err, want)
	}
	return info
}

func (n *node) rekey(step string) (wire.Key, error) {
	return act[wire.Key](n, "key-rekey", wire.KeyRequest{Step: step})
}

func TestWithoutKeyServersThingsHangOnTheKeyFile(t *testing.T) {
	n := newNode(t, bare)
	n.fails(n.keys.Keeper().Protect(t.Context(), "backup/etc", []byte("password")))
	if info := n.opens("backup/etc", "password"); !info.Local {
		t.Errorf("it hangs on %+v", info)
	}
	if text, configured := n.keys.Describe(); configured || !strings.Contains(text, "no key server") {
		t.Errorf("described as %q, configured %v", text, configured)
	}
	if _, err := act[wire.Key](n, "key-create", wire.KeyRequest{}); err == nil || !strings.Contains(err.Error(), "no key server") {
		t.Errorf("a key was made of nothing: %v", err)
	}
}

// What was sealed before there were key servers moves to them, without a moment in
// which something could not be opened.
func TestThingsOfTheKeyFileMoveToTheKeyServers(t *testing.T) {
	n := newNode(t, nil)
	n.fails(n.keys.Keeper().Protect(t.Context(), "backup/etc", []byte("password")))
	k := n.create()
	if k.State != "renewing" || k.Current == nil || k.Current.Gen != 1 || k.Renewal.Phase != "committed" {
		t.Fatalf("after create: %+v", k)
	}
	if info := n.opens("backup/etc", "password"); info.Local || info.Slot.Kind != envelope.KindKMIP {
		t.Errorf("it opened by %+v", info.Slot)
	}
	if _, err := n.rekey("retire"); !early(err) {
		t.Fatalf("retire within the grace time: %v", err)
	}
	if n.active(keyserver.CodeRekeyFailed, "repo") {
		t.Error("to ask too early is taken for a renewal that failed")
	}
	if slices.Contains(k.Renewal.Next, "cancel") {
		t.Error("the first key can be taken back, it is said")
	}
	if got := view[wire.Survivability](n, "survival", ""); len(got.Things) != 2 || len(got.Things[0].Openers) != 2 {
		t.Errorf("who opens what after create: %+v", got.Things)
	}
	n.ahead.Add(int64(25 * time.Hour))
	k = must(n.rekey("retire"))(t)
	if k.State != "current" || k.Renewal != nil {
		t.Errorf("after retire: %+v", k)
	}
	for _, thing := range k.Things {
		if len(thing.Slots) != 1 || thing.Slots[0].Kind != "kmip" {
			t.Errorf("%s has the slots %+v", thing.ID, thing.Slots)
		}
	}
	n.opens("backup/etc", "password")
	n.opens("secret/mail", "hunter2")
}

func early(err error) bool {
	_, ok := errors.AsType[*keyring.EarlyError](err)
	return ok
}

func TestARenewalIsProvedOnEveryServerBeforeItIsUsed(t *testing.T) {
	n := newNode(t, nil)
	if k := n.create(); k.State != "current" || k.Renewal != nil {
		t.Errorf("a first key with nothing to retire: %+v", k)
	}
	first := n.uid()

	if _, err := n.rekey("commit"); !errors.Is(err, keyring.ErrNoRenewal) {
		t.Errorf("commit of nothing: %v", err)
	}
	k := must(n.rekey("prepare"))(t)
	if k.Renewal == nil || k.Renewal.Phase != "proved" || !slices.Contains(k.Renewal.Next, "commit") || k.Current.UID != first {
		t.Fatalf("prepared: %+v", k)
	}
	must(n.rekey("verify"))(t)
	n.fails(n.clone.Lose(k.Renewal.New.UID))
	if _, err := n.rekey("verify"); err == nil {
		t.Error("a key was verified that the clone does not have")
	}
	if !n.active(keyserver.CodeReplicaLag, "ks2") {
		t.Error("the clone's lag is not told of")
	}
	if _, err := n.rekey("commit"); err == nil {
		t.Error("a key was taken into use that the clone does not have")
	}
	if !n.active(keyserver.CodeRekeyFailed, "repo") {
		t.Error("the failed step is not told of")
	}
	n.opens("secret/mail", "hunter2")
	n.replication = must(n.clone.Follow(n.master, 0))(t)
	k = must(n.rekey("commit"))(t)
	if n.active(keyserver.CodeRekeyFailed, "repo") || k.Current.Gen != 2 || k.Current.UID == first {
		t.Errorf("committed: %+v", k)
	}
	n.fails(n.keys.EndRenewal(t.Context())) // too early: nothing is done
	n.ahead.Add(int64(25 * time.Hour))
	n.fails(n.clone.Lose(k.Current.UID))
	n.verify("ks2")
	if err := n.keys.EndRenewal(t.Context()); err == nil || n.active(keyserver.CodeRekeyFailed, "repo") {
		t.Errorf("the old key went while the newest validation missed the new one: %v", err)
	}
	n.replication = must(n.clone.Follow(n.master, 0))(t)
	n.verify("ks2")
	n.fails(n.keys.EndRenewal(t.Context()))
	if o, ok := n.master.Find(first); ok && len(o.Material) > 0 {
		t.Errorf("the old key is still there: %s", o.State)
	}
	n.opens("secret/mail", "hunter2")
	n.verify("ks2")
	if n.active(keyserver.CodeReplicaLag, "ks2") || n.active(keyserver.CodeKeyMissing, "ks2/key/repo") {
		t.Error("a fault outlives the renewal")
	}
}

func TestARenewalIsTakenBack(t *testing.T) {
	n := newNode(t, nil)
	n.create()
	first := n.uid()
	k := must(n.rekey("prepare"))(t)
	made := k.Renewal.New.UID
	k = must(n.rekey("cancel"))(t)
	if k.Renewal != nil || k.Current.UID != first || len(k.Orphans) != 0 {
		t.Errorf("cancelled: %+v", k)
	}
	if o, ok := n.master.Find(made); ok && len(o.Material) > 0 {
		t.Errorf("the new key is still there: %s", o.State)
	}
	if _, err := n.rekey("dance"); err == nil || !strings.Contains(err.Error(), "none of") {
		t.Errorf("an unknown step: %v", err)
	}
}

// Work that is under way goes on with keys in memory; new work stops. Nothing is
// written in plain.
func TestAllServersDown(t *testing.T) {
	n := newNode(t, nil)
	n.create()
	n.opens("secret/mail", "hunter2")
	n.master.Down()
	n.clone.Down()
	if info := n.opens("secret/mail", "hunter2"); !info.Cached {
		t.Errorf("opened by %+v", info)
	}
	if err := n.keys.Keeper().Protect(t.Context(), "backup/new", []byte("x")); err == nil {
		t.Error("new work began without a key server")
	}
	n.verify("ks1")
	n.verify("ks2")
	n.look("keyserver.group@main", fault.TriggerOperator)
	v, _ := n.view(keyserver.CodeAllLost, "main")
	if !v.Active || v.Severity != fault.Critical || v.Sense.Get("cached_until") == "" {
		t.Errorf("all-lost: %+v", v)
	}
	n.fails(n.clone.Up(t.Context()))
	n.verify("ks2")
	n.await(keyserver.CodeAllLost, "main") // the server's look asks for the group's
	if info := n.opens("secret/mail", "hunter2"); info.Cached || info.From != "ks2" {
		t.Errorf("opened by %+v", info)
	}
	if !n.active(keyserver.CodeRedundancyLost, "main") {
		t.Error("one server is no redundancy")
	}
}

// The grace time is that of the configuration in force: whoever ends it does not wait
// for a restart.
func TestAReloadChangesTheGraceTime(t *testing.T) {
	n := newNode(t, nil)
	n.create()
	n.opens("secret/mail", "hunter2")
	n.master.Down()
	n.clone.Down()
	if info := n.opens("secret/mail", "hunter2"); !info.Cached {
		t.Errorf("opened by %+v", info)
	}
	o := n.opts
	o.DefaultGroup = func(name string) keyserver.Group {
		g := n.opts.DefaultGroup(name)
		g.Grace = 0
		return g
	}
	n.fails(n.keys.Configure(o))
	if _, _, err := n.keys.Keeper().Open(t.Context(), "secret/mail"); err == nil {
		t.Error("opened with a key from memory, which the configuration forbids")
	}
}

// A damaged record of the key stops no agent: what is sealed opens, and nothing new is
// sealed.
func TestADamagedRecordOfTheKeyStopsNothingElse(t *testing.T) {
	n := newNode(t, nil)
	n.create()
	n.stop()
	for _, name := range []string{"key-repo.0", "key-repo.1"} {
		n.fails(n.opts.Keys.WriteFile(name, []byte("not a record"), 0o600))
	}
	n.open()
	n.opens("secret/mail", "hunter2")
	err := n.keys.Keeper().Protect(t.Context(), "secret/new", []byte("x"))
	if _, ok := errors.AsType[*envelope.DamageError](err); !ok {
		t.Errorf("something new was sealed: %v", err)
	}
	if last := n.look("keyserver.key@repo", fault.TriggerTimer); verdict(last, keyserver.CodeRekeyFailed) != fault.Unknown {
		t.Error("nobody can know whether a renewal failed")
	}
	if last := n.verify("ks1"); len(last.Proved) != 0 {
		t.Errorf("proved without knowing which keys are in use: %q", last.Proved)
	}
	n.fails(n.keys.Configure(n.opts))
}

// A server that answers well and quickly is asked before one that does not.
func TestServersAreAskedInTheOrderOfTheirWorth(t *testing.T) {
	n := newNode(t, nil)
	n.create()
	n.breaks(n.master, kmiptest.Fault{Kind: kmiptest.Slow, Operation: "Get", Delay: 300 * time.Millisecond})
	n.breaks(n.master, kmiptest.Fault{Kind: kmiptest.Slow, Operation: "GetAttributes", Delay: 300 * time.Millisecond})
	n.breaks(n.master, kmiptest.Fault{Kind: kmiptest.Slow, Operation: "Query", Delay: 300 * time.Millisecond})
	n.look("keyserver.server@ks1", fault.TriggerTimer)
	n.look("keyserver.server@ks2", fault.TriggerTimer)
	if info := n.opens("secret/mail", "hunter2"); info.From != "ks2" {
		t.Errorf("the slow server was asked: %q", info.From)
	}
	n.master.ClearFaults()
	n.breaks(n.clone, kmiptest.Fault{Kind: kmiptest.Missing})
	n.verify("ks1")
	n.verify("ks2")
	if info := n.opens("secret/mail", "hunter2"); info.From != "ks1" {
		t.Errorf("the server without the key was asked first: %q", info.From)
	}
}

func TestSecretsOfTheConfiguration(t *testing.T) {
	n := newNode(t, nil)
	n.create()
	put := func(secret string, replace bool) error {
		return second(act[wire.KeyThing](n, "secret-put", wire.SecretRequest{Name: "mail", Secret: []byte(secret), Replace: replace}))
	}
	if err := put("other", false); !errors.Is(err, envelope.ErrExists) {
		t.Errorf("put over another: %v", err)
	}
	n.opens("secret/mail", "hunter2")
	n.fails(put("other", true))
	n.opens("secret/mail", "other")
	n.master.Down()
	n.clone.Down()
	if err := put("third", true); err == nil {
		t.Error("a secret was replaced without a key server")
	}
	n.fails(n.master.Up(t.Context()))
	n.opens("secret/mail", "other")
	if err := second(act[wire.KeyThing](n, "secret-put", wire.SecretRequest{Name: "../x", Secret: []byte("x")})); err == nil {
		t.Error("a name that leads elsewhere was taken")
	}
	must(act[wire.KeyThing](n, "secret-remove", wire.SecretRequest{Name: "mail"}))(t)
	if err := second(act[wire.KeyThing](n, "secret-remove", wire.SecretRequest{Name: "mail"})); !errors.Is(err, envelope.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestTheRecoveryKeyMustBeProved(t *testing.T) {
	n := newNode(t, nil)
	n.create()
	look := func() { n.look("keyserver.recovery@recovery-key", fault.TriggerOperator) }
	look()
	if n.active(keyserver.CodeRecoveryUnproven, "recovery-key") {
		t.Error("a recovery key that was never made is unproven")
	}
	made := must(act[wire.KeyRecovery](n, "recovery-create", struct{}{}))(t)
	if look(); !n.active(keyserver.CodeRecoveryUnproven, "recovery-key") || !strings.HasPrefix(made.Identity, "AGE-SECRET-KEY-1") {
		t.Errorf("made %+v", made.Fingerprint)
	}
	if err := second(act[wire.KeyRecovery](n, "recovery-validate", wire.KeyRecoveryRequest{Identity: "AGE-SECRET-KEY-1QQ"})); err == nil {
		t.Error("nonsense was validated")
	}
	proved := must(act[wire.KeyRecovery](n, "recovery-validate", wire.KeyRecoveryRequest{Identity: made.Identity}))(t)
	if look(); n.active(keyserver.CodeRecoveryUnproven, "recovery-key") || proved.Validated == nil || !slices.Equal(proved.Things, []string{"secret/mail"}) || proved.Identity != "" {
		t.Errorf("proved %+v", proved)
	}
	n.ahead.Add(int64(181 * 24 * time.Hour))
	if look(); !n.active(keyserver.CodeRecoveryUnproven, "recovery-key") {
		t.Error("half a year later it counts as proved")
	}
}

// The way back after all key servers are gone for good: the recovery key opens
// everything, and new servers take over from there.
func TestTheRecoveryKeyIsTheWayBack(t *testing.T) {
	n := newNode(t, nil)
	n.create()
	made := must(act[wire.KeyRecovery](n, "recovery-create", struct{}{}))(t)
	n.stop()
	n.master.Down()
	n.clone.Down()
	n.open() // nothing is in memory any more
	if _, _, err := n.keys.Keeper().Open(t.Context(), "secret/mail"); err == nil {
		t.Fatal("it opens without a key")
	}
	if err := second(act[wire.KeyRecovery](n, "recovery-use", wire.KeyRecoveryRequest{Identity: "AGE-SECRET-KEY-1QQ"})); err == nil {
		t.Error("nonsense recovers")
	}
	used := must(act[wire.KeyRecovery](n, "recovery-use", wire.KeyRecoveryRequest{Identity: made.Identity}))(t)
	if !slices.Equal(used.Things, []string{"secret/mail"}) {
		t.Errorf("recovered %v", used.Things)
	}
	n.opens("secret/mail", "hunter2")
	if err := n.keys.Keeper().Protect(t.Context(), "backup/new", []byte("x")); err == nil {
		t.Error("new work began on the key file")
	}
	fresh := n.start(kmiptest.Master)
	o := n.opts
	o.Servers = []keyserver.Server{n.object("ks9", fresh, true)}
	n.fails(n.keys.Configure(o))
	must(n.rekey("prepare"))(t)
	k := must(n.rekey("commit"))(t)
	if info := n.opens("secret/mail", "hunter2"); info.From != "ks9" || k.Current.Gen != 2 {
		t.Errorf("opened by %+v", info.Slot)
	}
}

// A key stays with the group that keeps it: a group that was renamed in the
// configuration stops new work, and neither the agent nor the key is lost.
func TestAKeyStaysWithItsGroup(t *testing.T) {
	n := newNode(t, nil)
	n.create()
	renamed := n.opts
	renamed.Servers = nil
	for _, s := range n.opts.Servers {
		s.Group = "other"
		renamed.Servers = append(renamed.Servers, s)
	}
	n.stop()
	was := n.opts
	n.opts = renamed
	n.open()
	if _, _, err := n.keys.Keeper().Open(t.Context(), "secret/mail"); err == nil || !strings.Contains(err.Error(), "group main has no key servers") {
		t.Errorf("opened without its group: %v", err)
	}
	if err := n.keys.Keeper().Protect(t.Context(), "backup/new", []byte("x")); err == nil {
		t.Error("new work went under the key file")
	}
	n.fails(n.keys.Configure(was))
	n.opens("secret/mail", "hunter2")
}

// An old level is compared as numbers, not as text.
func TestLevels(t *testing.T) {
	for _, c := range []struct {
		text string
		want int // compared with 2.6.0.0
	}{
		{"IBM SKLM 2.6.0.0", 0},
		{"IBM SKLM 2.6", 0},
		{"IBM SKLM 2.10.0.0", 1},
		{"IBM SKLM 2.5.0.99", -1},
		{"IBM GKLM v4.2.1", 1},
		{"10.0", 1},
		{"2.6.0.0.1", 1},
	} {
		if got := keyserver.ParseLevel(c.text).Compare(keyserver.Level{2, 6, 0, 0}); got != c.want {
			t.Errorf("%q compares as %d, want %d", c.text, got, c.want)
		}
	}
	for _, text := range []string{"", "IBM SKLM", "SKLM 4", "x.y", strings.Repeat("1.", 99)} {
		if l := keyserver.ParseLevel(text); len(l) > 6 || text != strings.Repeat("1.", 99) && l != nil {
			t.Errorf("%q is read as %s", text, l)
		}
	}
}

// The commands' state lies in two copies: a damaged one costs nothing.
func TestADamagedCopyOfTheObjectsCostsNothing(t *testing.T) {
	n := newNode(t, bare)
	in := n.addition("ks1", n.master)
	in.Primary = true
	must(act[wire.KeyServerReply](n, "add", in))(t)
	n.stop()
	path := n.opts.Dir + "/objects.0"
	b := must(os.ReadFile(path))(t)
	n.fails(os.WriteFile(path, bytes.ToUpper(b), 0o600))
	n.open()
	if got := names(n); !slices.Equal(got, []string{"ks1"}) {
		t.Errorf("there are %v", got)
	}
}
