package keyserver_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/subsystem"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/wire"
	"allclear/kmip"
	"allclear/kmip/kmiptest"
)

type actionOf = subsystem.Action

func parseQuery(q string) (url.Values, error) { return url.ParseQuery(q) }

// stepRow breaks a site so that a validation of a server stops at a step.
type stepRow struct {
	name      string
	server    string // that is validated
	broken    func(*node)
	code      fault.Code
	at        string // the resource of the fault
	qualifier string
	step      string
	severity  fault.Severity
}

func stepRows() []stepRow {
	refuse := func(op, reason string) func(*node) {
		return func(n *node) {
			n.breaks(n.master, kmiptest.Fault{Kind: kmiptest.Refuse, Operation: op, Reason: reason, Message: "because"})
		}
	}
	return []stepRow{
		{"nothing listens", "ks1", func(n *node) { n.master.Down() }, keyserver.CodeUnreachable, "ks1", "refused", "connect", fault.Major},
		{"all are down", "ks1", func(n *node) {
			n.master.Down()
			n.clone.Down()
			n.verify("ks2")
		}, keyserver.CodeUnreachable, "ks1", "refused", "connect", fault.Critical},
		{"reset before TLS", "ks1", func(n *node) { n.breaks(n.master, kmiptest.Fault{Kind: kmiptest.Reset}) }, keyserver.CodeUnreachable, "ks1", "reset", "connect", fault.Major},
		{"KMIP 1.2 only", "ks1", func(n *node) { n.become(n.master, only(kmip.V1_0, kmip.V1_2)) }, keyserver.CodeUnsupported, "ks1", "kmip-version", "version", fault.Major},
		{"another product", "ks1", func(n *node) { n.become(n.master, calls("CipherTrust Manager 2.14.0")) }, keyserver.CodeUnsupported, "ks1", "type", "vendor", fault.Major},
		{"an old level", "ks1", func(n *node) { n.become(n.master, calls("IBM SKLM 2.5.0.10")) }, keyserver.CodeUnsupported, "ks1", "software", "vendor", fault.Major},
		{"no level", "ks1", func(n *node) { n.become(n.master, calls("IBM SKLM")) }, keyserver.CodeUnsupported, "ks1", "software", "vendor", fault.Major},
		{"no Create", "ks1", func(n *node) {
			n.become(n.master, func(o *kmiptest.Options) {
				o.Operations = []kmip.Operation{kmip.OperationQuery, kmip.OperationDiscoverVersions, kmip.OperationGet, kmip.OperationGetAttributes, kmip.OperationLocate}
			})
		}, keyserver.CodeUnsupported, "ks1", "operations", "vendor", fault.Major},
		{"Query refused", "ks1", refuse("Query", "GeneralFailure"), keyserver.CodeKMIPError, "ks1", "refused", "vendor", fault.Critical},
		{"Query refused on a clone", "ks2", func(n *node) {
			n.verify("ks1")
			n.breaks(n.clone, kmiptest.Fault{Kind: kmiptest.Refuse, Operation: "Query"})
		}, keyserver.CodeKMIPError, "ks2", "refused", "vendor", fault.Major},
		{"a clone defined as the primary", "ks1", func(n *node) { n.become(n.master, is(kmiptest.Clone)) }, keyserver.CodePrimaryConflict, "ks1", "", "role", fault.Major},
		{"certificate not approved", "ks1", func(n *node) { n.become(n.master, permits(kmiptest.Pending)) }, keyserver.CodeClientNotAccepted, "ks1", "pending", "keys", fault.Major},
		{"certificate not known", "ks1", func(n *node) { n.become(n.master, permits(kmiptest.Denied)) }, keyserver.CodeClientNotAccepted, "ks1", "denied", "version", fault.Major},
		{"key missing", "ks2", func(n *node) { n.fails(n.clone.Lose(n.uid())) }, keyserver.CodeKeyMissing, "ks2/key/repo", "not-found", "keys", fault.Critical},
		{"key kept from us", "ks1", refuse("Get", "PermissionDenied"), keyserver.CodeKeyMissing, "ks1/key/repo", "permission", "keys", fault.Critical},
		{"key that is listed and not given", "ks1", refuse("Get", "GeneralFailure"), keyserver.CodeKMIPError, "ks1", "refused", "keys", fault.Critical},
		{"key with other bytes", "ks2", func(n *node) { n.fails(n.clone.Overwrite(n.uid(), make([]byte, 32))) }, keyserver.CodeKeyWrong, "ks2/key/repo", "", "keys", fault.Critical},
		{"no key can be made", "ks1", refuse("Create", "PermissionDenied"), keyserver.CodeKMIPError, "ks1", "refused", "life", fault.Critical},
		{"no key can be destroyed", "ks1", refuse("Destroy", "PermissionDenied"), keyserver.CodeKMIPError, "ks1", "refused", "life", fault.Critical},
		{"another operation is answered", "ks1", func(n *node) {
			n.breaks(n.master, kmiptest.Fault{Kind: kmiptest.OtherOperation, Operation: "Get"})
		}, keyserver.CodeKMIPError, "ks1", "malformed", "keys", fault.Critical},
	}
}

func calls(vendor string) func(*kmiptest.Options) {
	return func(o *kmiptest.Options) { o.Vendor = vendor }
}

func is(r kmiptest.Role) func(*kmiptest.Options) {
	return func(o *kmiptest.Options) { o.Role = r }
}

func permits(p kmiptest.Permission) func(*kmiptest.Options) {
	return func(o *kmiptest.Options) { o.Permission = func(string) kmiptest.Permission { return p } }
}

func (n *node) fails(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// uid is the identifier of the node's key at the servers.
func (n *node) uid() string {
	n.t.Helper()
	keys := view[wire.List[wire.Key]](n, "keys", "")
	if len(keys.Items) != 1 || keys.Items[0].Current == nil {
		n.t.Fatalf("the node has no key: %+v", keys)
	}
	return keys.Items[0].Current.UID
}

func TestEachStepThatFailsIsNamed(t *testing.T) {
	for _, row := range stepRows() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, nil)
			n.create()
			if last := n.verify(row.server); len(last.Events) > 0 {
				t.Fatalf("a healthy server: %v", last.Events)
			}
			row.broken(n)
			last := n.verify(row.server)
			v, ok := n.view(row.code, row.at)
			if !ok || !v.Active {
				t.Fatalf("no %s at %s: %+v", row.code, row.at, last.Judgements)
			}
			if got := v.Sense.Get("qualifier"); got != row.qualifier || v.Sense.Get("step") != row.step || v.Severity != row.severity {
				t.Errorf("qualifier %q at step %q, %s; want %q at %q, %s", got, v.Sense.Get("step"), v.Severity, row.qualifier, row.step, row.severity)
			}
			shown := view[wire.List[wire.KeyServer]](n, "servers", "server="+row.server).Items[0]
			if shown.Last == nil || shown.Last.OK || !stoppedAt(shown.Last.Steps, row.step) {
				t.Errorf("shown steps: %+v", shown.Last)
			}
			if row.code == keyserver.CodeKMIPError && row.qualifier == "refused" {
				n.fourItems(v.Sense)
			}
		})
	}
}

// stoppedAt claims that all steps before the named one passed, and that it failed.
func stoppedAt(steps []wire.KMIPStep, name string) bool {
	if len(steps) != 12 {
		return false
	}
	for i, s := range steps {
		if s.Number != i+1 {
			return false
		}
		if s.Name == name {
			return s.Outcome == "failed"
		}
		if s.Outcome != "ok" {
			return false
		}
	}
	return false
}

// fourItems is what seed 002 demands of event 086006.
func (n *node) fourItems(s fault.Sense) {
	n.t.Helper()
	for _, key := range []string{"error_code", "result_status", "result_reason", "result_message", "operation"} {
		if s.Get(key) == "" && key != "result_message" {
			n.t.Errorf("no %s in %v", key, s)
		}
	}
}

func TestAHealthySiteIsProved(t *testing.T) {
	n := newNode(t, nil)
	n.create()
	for _, server := range []string{"ks1", "ks2"} {
		last := n.verify(server)
		for _, j := range last.Judgements {
			if j.Verdict != fault.Absent {
				t.Errorf("%s of a healthy server is %s: %s", j.Key, j.Verdict, j.Why)
			}
		}
		if len(last.Proved) == 0 {
			t.Errorf("nothing proved of %s", server)
		}
		s := view[wire.List[wire.KeyServer]](n, "servers", "server="+server).Items[0]
		if s.Status != "online" || s.KMIP != "1.4" || s.Product != "IBM SKLM" || s.Level != "4.1.1.0" || len(s.Certificates) != 3 ||
			len(s.History) == 0 || len(s.Faults) != 0 || s.TLS != "1.3" {
			t.Errorf("shown is %+v", s)
		}
	}
	if got := view[wire.List[wire.KeyServer]](n, "servers", "").Items; len(got) != 2 || got[0].Role != "master" || got[1].Role != "clone" || got[0].LifeTested == nil {
		t.Errorf("listed are %+v", got)
	}
	n.look("keyserver.group@main", fault.TriggerOperator)
	for _, code := range []fault.Code{keyserver.CodeNoPrimary, keyserver.CodeRedundancyLost, keyserver.CodeAllLost} {
		if n.active(code, "main") {
			t.Errorf("%s of a healthy group", code)
		}
	}
}

// What a malformed answer is taken for must not depend on which step meets it.
func TestEveryMalformedAnswerIsAKMIPError(t *testing.T) {
	for _, kind := range kmiptest.MalformedKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			n := newNode(t, nil)
			op := "Query"
			if kind == kmiptest.NoKey {
				op = "Get"
				n.create()
			}
			n.breaks(n.master, kmiptest.Fault{Kind: kind, Operation: op})
			last := n.verify("ks1")
			if v := verdict(last, keyserver.CodeKMIPError); v != fault.Present {
				t.Fatalf("kmip-error is %s: %+v", v, last.Judgements)
			}
			for _, j := range last.Judgements {
				if j.Verdict == fault.Present && j.Key.Code != keyserver.CodeKMIPError {
					t.Errorf("found besides: %s", j.Key)
				}
			}
		})
	}
}

func TestASlowServerStaysSlowForAQuarterOfAnHourUnlessAsked(t *testing.T) {
	n := newNode(t, nil)
	o := n.opts
	o.Groups = []keyserver.Group{{Name: "main", Interval: time.Hour, Exception: time.Hour, Slow: 2 * time.Second, Timeout: patient}}
	n.fails(n.keys.Configure(o))
	n.fails(n.sched.Set(n.keys.Checks(), nil))
	n.breaks(n.master, kmiptest.Fault{Kind: kmiptest.Slow, Operation: "Query", Delay: 2500 * time.Millisecond})
	n.verify("ks1")
	if !n.active(keyserver.CodeSlow, "ks1") {
		t.Fatal("a slow server is not told of")
	}
	n.master.ClearFaults()
	for range 2 {
		if n.look("keyserver.server@ks1", fault.TriggerTimer); !n.active(keyserver.CodeSlow, "ks1") {
			t.Fatal("cleared before it was calm for a quarter of an hour")
		}
	}
	n.ahead.Store(int64(16 * time.Minute))
	if n.look("keyserver.server@ks1", fault.TriggerTimer); n.active(keyserver.CodeSlow, "ks1") {
		t.Error("still slow after it was calm")
	}
	n.breaks(n.master, kmiptest.Fault{Kind: kmiptest.Slow, Operation: "Query", Delay: 2500 * time.Millisecond})
	n.look("keyserver.server@ks1", fault.TriggerTimer)
	n.master.ClearFaults()
	if v := verdict(n.verify("ks1"), keyserver.CodeSlow); v != fault.Absent {
		t.Errorf("an operator who asks how it is now is told of what was: %s", v)
	}
}

func TestTheTestKeyLivesOnceADayAndIsSweptAfterAnAccident(t *testing.T) {
	n := newNode(t, nil)
	lives := func() int { return n.master.Seen().Operations["Create"] }
	n.verify("ks1")
	first := lives()
	if first == 0 {
		t.Fatal("no test key was made when an operator asked")
	}
	for range 3 {
		n.look("keyserver.server@ks1", fault.TriggerTimer)
	}
	if got := lives(); got != first {
		t.Errorf("the timer made %d test keys within a day", got-first)
	}
	n.ahead.Add(int64(25 * time.Hour))
	n.look("keyserver.server@ks1", fault.TriggerTimer)
	if got := lives(); got != first+1 {
		t.Errorf("%d test keys after a day, want %d", got, first+1)
	}
	n.breaks(n.master, kmiptest.Fault{Kind: kmiptest.Hangup, Operation: "Activate"})
	n.breaks(n.master, kmiptest.Fault{Kind: kmiptest.Hangup, Operation: "Destroy"})
	n.verify("ks1")
	if live := n.alive(); len(live) == 0 {
		t.Fatal("the accident left nothing to sweep")
	}
	n.master.ClearFaults()
	n.stop()
	n.open() // whoever made the leftovers is gone
	n.verify("ks1")
	if live := n.alive(); len(live) > 0 {
		t.Errorf("test keys left on the server: %v", live)
	}
}

// What a test key has shown is not disproved by a look that makes none.
func TestALifeThatFailedIsOwedUntilOneDoesNot(t *testing.T) {
	n := newNode(t, nil)
	n.verify("ks1")
	n.breaks(n.master, kmiptest.Fault{Kind: kmiptest.Refuse, Operation: "Revoke"})
	n.verify("ks1")
	if !n.active(keyserver.CodeKMIPError, "ks1") {
		t.Fatal("a test key that cannot be revoked is no fault")
	}
	n.stop()
	n.open() // that it failed outlives the process
	for range 3 {
		n.look("keyserver.server@ks1", fault.TriggerTimer)
	}
	if !n.active(keyserver.CodeKMIPError, "ks1") {
		t.Error("the fault was cleared by looks that proved nothing")
	}
	if live := n.alive(); len(live) != 1 {
		t.Errorf("%d test keys stand on a server that lets none go, want 1: %v", len(live), live)
	}
	n.master.ClearFaults()
	n.look("keyserver.server@ks1", fault.TriggerTimer)
	if n.active(keyserver.CodeKMIPError, "ks1") {
		t.Error("the fault stands though a key lived and died")
	}
	if live := n.alive(); len(live) > 0 {
		t.Errorf("test keys left on the server: %v", live)
	}
}

// alive are the test keys on the master that were not destroyed.
func (n *node) alive() (names []string) {
	for _, o := range n.master.Objects() {
		if len(o.Names) > 0 && strings.Contains(o.Names[0], "-test-") && o.State != kmip.StateDestroyed {
			names = append(names, o.Names[0])
		}
	}
	return names
}

func TestNoKeyBytesAreTold(t *testing.T) {
	n := newNode(t, nil)
	n.create()
	uid := n.uid()
	key := slices.Clone(func() []byte { o, _ := n.master.Find(uid); return o.Material }())
	n.fails(n.clone.Overwrite(uid, []byte("0123456789abcdefFEDCBA9876543210")))
	n.verify("ks1")
	n.verify("ks2")
	told := fmt.Sprintf("%+v %+v %+v", n.noticed(), view[any](n, "servers", ""), view[any](n, "keys", ""))
	for _, secret := range []string{string(key), fmt.Sprintf("%x", key), "0123456789abcdef", fmt.Sprintf("%x", "0123456789abcdef"), "hunter2"} {
		if strings.Contains(told, secret) {
			t.Errorf("a secret was told: %q", secret)
		}
	}
	if len(key) != 32 {
		t.Fatalf("the key has %d bytes", len(key))
	}
}

func TestWhatAnEarlierProcessSawDecidesNothing(t *testing.T) {
	n := newNode(t, nil)
	n.create()
	n.verify("ks1")
	n.verify("ks2")
	n.stop()
	n.master.Down()
	n.clone.Down()
	n.sched.Remove("keyserver.server@ks1")
	n.keys = must(keyserver.New(n.opts))(t)
	defer func() { n.fails(n.keys.Close()) }()
	n.stop = func() {}
	s := view[wire.List[wire.KeyServer]](n, "servers", "server=ks1").Items[0]
	if len(s.History) == 0 || s.Last == nil {
		t.Error("the history is gone")
	}
	if got := view[wire.Survivability](n, "survival", ""); len(got.Things) != 1 || got.Things[0].Opens {
		t.Errorf("servers that nobody has asked yet are said to open things: %+v", got)
	}
}

// A server that is well is validated every six hours, one with a fault every quarter
// of an hour (seed 002).
func TestTheTimerHasTwoSpeeds(t *testing.T) {
	n := newNode(t, nil)
	o := n.opts
	o.DefaultGroup = nil
	n.fails(n.keys.Configure(o))
	servers := slices.DeleteFunc(n.keys.Checks(), func(c check.Check) bool { return c.Name != "keyserver.server" })
	if len(servers) != 2 {
		t.Fatalf("%d checks of 2 servers", len(servers))
	}
	for _, c := range servers {
		if c.Every != 6*time.Hour || c.Fast != 15*time.Minute {
			t.Errorf("%s is looked at every %s, and every %s while a fault stands", c.ID(), c.Every, c.Fast)
		}
	}
}
