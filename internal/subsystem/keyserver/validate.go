package keyserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"allclear/internal/fault"
	"allclear/internal/netdiag"
	"allclear/internal/wire"
	"allclear/kmip"
)

// The steps of a validation, in their order; their numbers are those of the
// documentation, from 1.
const (
	stepAddress     = 1  // a source address of the right family, the name resolves
	stepConnect     = 2  // TCP
	stepTLS         = 3  // up to the server's certificate
	stepCertificate = 4  // the server's
	stepClient      = 5  // ours is accepted
	stepVersion     = 6  // of KMIP
	stepVendor      = 7  // product, level, operations
	stepRole        = 8  // among the servers of the group
	stepClock       = 9  // its offset
	stepKeys        = 10 // every key in use here
	stepLife        = 11 // a test key from Create to Destroy
	stepReplica     = 12 // the newest key
)

// stepNames are the steps in their order.
var stepNames = []string{
	"address", "connect", "tls", "certificate", "client-certificate", "version", "vendor", "role", "clock", "keys", "life", "replica",
}

// The outcomes of a step.
const (
	outcomeOK       = "ok"
	outcomeFailed   = "failed"
	outcomeWarning  = "warning"
	outcomeNotTried = "not-tried"
)

// clockWarning is the offset of the server's clock above which it is marked.
const clockWarning = time.Minute

// finding is something that is wrong with a server.
type finding struct {
	code      fault.Code
	sub       string // sub-resource, "" the server
	severity  fault.Severity
	qualifier string
	cause     string // below the qualifier
	step      int
	err       error
	sense     map[string]string
	remedy    []fault.Remedy // where it is known better than in the catalogue
}

// verdict is a code on a sub-resource.
type verdict struct {
	code fault.Code
	sub  string
	why  string // of what does not apply
}

// result is what a validation has found.
type result struct {
	server   *Server
	group    *Group
	trigger  fault.Trigger
	began    time.Time
	took     time.Duration
	cancel   bool // it was called off: it says nothing
	blind    string
	steps    []wire.KMIPStep
	reached  int // the last step that was passed or not needed
	found    []finding
	absent   []verdict
	na       []verdict
	whole    bool // every sub-resource was named
	ladder   *netdiag.Report
	times    []exchange
	connect  time.Duration
	facts    *wire.KMIPFacts
	keys     []wire.KMIPKeyFound
	certs    []certificate
	lifeDone bool
	slow     *slowness // when it is, or was lately
}

// exchange is how long the server took for one thing.
type exchange struct {
	op   string
	took time.Duration
}

// validation is one climb.
type validation struct {
	server    *Server
	group     *Group
	profile   Profile
	resolvers []string
	trigger   fault.Trigger
	now       func() time.Time
	keysErr   error     // why nobody knows which keys are in use
	keys      []usedKey // in use here, of the server's group
	newest    *usedKey  // made, and not yet in use: for the clones
	life      *lifeTest // nil: not now
	owed      bool      // the last life of a test key failed
	sole      bool      // no other server of the group is usable
	masters   []string  // servers of the group that say they are the master
	defined   string    // the server defined primary
	slow      *slowness // an earlier validation that found it slow
	plain     bool      // a probe: the steps after the clock are not asked

	res    *result
	client *kmip.Client
}

// run climbs. It never panics and never answers nil.
func (v *validation) run(ctx context.Context) *result {
	began := time.Now()
	v.res = &result{server: v.server, group: v.group, trigger: v.trigger, began: v.now().UTC()}
	if !v.server.Primary && !v.plain {
		// A server that is not defined primary cannot be in conflict (R2-22).
		v.well(verdict{code: CodePrimaryConflict})
	}
	v.climb(ctx)
	if v.client != nil {
		_ = v.client.Close() // nothing of worth is left on it
	}
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errOutOfTime) {
		v.res.cancel = true
	}
	v.fillSteps()
	v.judgeSpeed()
	v.res.took = time.Since(began)
	return v.res
}

// errOutOfTime ends a validation whose whole time is up.
var errOutOfTime = errors.New("the time of the whole validation is up")

// allowed is the time of a whole validation: room for a slow server, not for a
// dead one, which ends at its first exchange.
func allowed(g *Group) time.Duration { return max(30*time.Second, 6*g.Timeout) }

func (v *validation) climb(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, allowed(v.group), errOutOfTime)
	defer cancel()
	steps := []func(context.Context) bool{v.connect, v.version, v.vendor, v.role, v.clock}
	if !v.plain {
		steps = append(steps, v.usedKeys, v.testLife, v.replica)
	}
	for _, step := range steps {
		if !step(ctx) {
			return
		}
	}
	v.res.whole = !v.plain && v.keysErr == nil
	if !v.plain && !v.owed {
		v.well(verdict{code: CodeKMIPError})
	}
}

// fail files a finding and its step. The climb goes on where the caller says so.
func (v *validation) fail(f finding) {
	v.res.found = append(v.res.found, f)
	v.step(f.step, outcomeFailed, f.err.Error(), 0)
}

// well files verdicts that were disproved.
func (v *validation) well(all ...verdict) { v.res.absent = append(v.res.absent, all...) }

// step files how a step ended. A step that failed stays so.
func (v *validation) step(number int, outcome, detail string, took time.Duration) {
	ms := float64(took.Microseconds()) / 1000
	i := slices.IndexFunc(v.res.steps, func(s wire.KMIPStep) bool { return s.Number == number })
	if i < 0 {
		v.res.steps = append(v.res.steps, wire.KMIPStep{
			Number: number, Name: stepNames[number-1], Outcome: outcome, Detail: detail, DurationMS: ms,
		})
	} else {
		s := &v.res.steps[i]
		s.DurationMS += ms
		if s.Outcome != outcomeFailed {
			s.Outcome, s.Detail = outcome, detail
		}
	}
	if outcome != outcomeFailed {
		v.res.reached = max(v.res.reached, number)
	}
}

// fillSteps adds the steps that were not tried.
func (v *validation) fillSteps() {
	last := stepReplica
	if v.plain {
		last = stepClock
	}
	for n := 1; n <= last; n++ {
		if !slices.ContainsFunc(v.res.steps, func(s wire.KMIPStep) bool { return s.Number == n }) {
			v.res.steps = append(v.res.steps, wire.KMIPStep{
				Number: n, Name: stepNames[n-1], Outcome: outcomeNotTried, Detail: "an earlier step failed",
			})
		}
	}
	slices.SortFunc(v.res.steps, func(a, b wire.KMIPStep) int { return a.Number - b.Number })
}

// timed does one exchange and keeps how long it took.
func (v *validation) timed(op string, do func() error) error {
	start := time.Now()
	err := do()
	v.res.times = append(v.res.times, exchange{op, time.Since(start)})
	return err
}

// version agrees on a version of the protocol. It is the first that is read from
// the server: under TLS 1.3 a refusal of our certificate shows here.
func (v *validation) version(ctx context.Context) bool {
	start := time.Now()
	var n kmip.Negotiation
	err := v.timed("DiscoverVersions", func() (err error) {
		n, err = v.client.Negotiate(ctx)
		return err
	})
	if refused, ok := errors.AsType[*netdiag.Error](err); ok {
		return v.unconnected(refused.Report)
	}
	vers, ok := errors.AsType[*kmip.VersionError](err)
	if ok && len(vers.Offered) > 0 {
		v.accepted()
		v.fail(finding{
			code: CodeUnsupported, qualifier: "kmip-version", step: stepVersion, err: err,
			sense: map[string]string{"offered": versionList(vers.Offered), "required": v.leastKMIP().String() + " or later"},
		})
		return false
	}
	if said, refused := errors.AsType[*kmip.Error](err); refused { // what it said, not that nothing else helped
		err = &kmip.Error{Op: kmip.OperationDiscoverVersions, Status: said.Status, Reason: said.Reason, Message: said.Message, Version: said.Version}
	}
	if err != nil {
		return v.kmipFailed(stepVersion, "DiscoverVersions", "", err)
	}
	v.accepted()
	v.res.facts = &wire.KMIPFacts{Version: n.Version.String(), Offered: versionNames(n.Offered), Operations: []string{}}
	v.step(stepVersion, outcomeOK, fmt.Sprintf("KMIP %s of %s", n.Version, versionList(n.Offered)), time.Since(start))
	return true
}

// accepted says that the server has read our certificate and goes on.
func (v *validation) accepted() { v.step(stepClient, outcomeOK, "accepted: the server answers", 0) }

// leastKMIP is the oldest version that is accepted.
func (v *validation) leastKMIP() kmip.Version { return max(v.group.MinKMIP, v.profile.MinKMIP) }

func versionNames(all []kmip.Version) []string {
	names := make([]string, 0, len(all))
	for _, v := range all[:min(len(all), 16)] {
		names = append(names, v.String())
	}
	return names
}

// vendor asks what the server is and can do.
func (v *validation) vendor(ctx context.Context) bool {
	start := time.Now()
	var q *kmip.QueryResponse
	err := v.timed("Query", func() (err error) {
		q, err = v.client.Query(ctx, kmip.QueryFunctionQueryOperations, kmip.QueryFunctionQueryObjects, kmip.QueryFunctionQueryServerInformation)
		return err
	})
	if err != nil {
		return v.kmipFailed(stepVendor, "Query", "", err)
	}
	id := identify(v.profile, cleaned(q.VendorIdentification), cleanedAll(q.ServerTexts()))
	f := v.res.facts
	f.Vendor, f.Product, f.Level, f.Role = id.vendor, id.product, id.level.String(), id.role
	for _, op := range q.Operations {
		f.Operations = append(f.Operations, op.String())
	}
	sense := map[string]string{
		"vendor": id.vendor, "product": id.product, "level": f.Level, "server_information": joined(id.texts), "required": v.profile.Title,
		"offered": joined(f.Offered),
	}
	if qualifier, err := v.profile.unsupported(id); err != nil {
		v.fail(finding{code: CodeUnsupported, qualifier: qualifier, step: stepVendor, err: err, sense: sense})
		return false
	}
	if missing := lacking(q, needed(v.server.Primary)); len(q.Operations) > 0 && missing != "" {
		sense["required"] = "operations " + missing
		v.fail(finding{
			code: CodeUnsupported, qualifier: "operations", step: stepVendor, sense: sense,
			err: fmt.Errorf("%q does not list the operations %s", id.vendor, missing),
		})
		return false
	}
	v.well(verdict{code: CodeUnsupported})
	v.step(stepVendor, outcomeOK, v.described(id), time.Since(start))
	return true
}

func (v *validation) described(id identity) string {
	text := fmt.Sprintf("%q", id.vendor)
	if id.product != "" {
		text += ", " + id.product
		if id.level != nil {
			text += " " + id.level.String()
		}
	}
	return text
}

// lacking names the operations that a server does not list.
func lacking(q *kmip.QueryResponse, ops []kmip.Operation) string {
	var names []string
	for _, op := range ops {
		if !q.Supports(op) {
			names = append(names, op.String())
		}
	}
	return joined(names)
}

// role compares what the server says it is with what it is defined to be.
func (v *validation) role(context.Context) bool {
	role := v.res.facts.Role
	if !v.server.Primary || v.plain {
		v.step(stepRole, outcomeOK, "it says "+role, 0)
		return true
	}
	if role == roleClone {
		v.fail(finding{
			code: CodePrimaryConflict, step: stepRole,
			err:   fmt.Errorf("%s is defined as the primary of group %s, but says that it is a clone", v.server.Name, v.server.Group),
			sense: map[string]string{"defined_primary": v.server.Name, "reported_role": role, "masters": joined(v.masters)},
		})
		return true // its keys can be read all the same
	}
	v.well(verdict{code: CodePrimaryConflict})
	v.step(stepRole, outcomeOK, "it says "+role+", as defined", 0)
	return true
}

// clock compares the server's clock with ours. It is no fault: no time is ever
// sent to a server.
func (v *validation) clock(context.Context) bool {
	offset, told := v.client.ClockOffset()
	if !told {
		v.step(stepClock, outcomeOK, "the server tells no time", 0)
		return true
	}
	seconds := offset.Round(time.Second).Seconds()
	v.res.facts.ClockOffsetS = &seconds
	outcome := outcomeOK
	if offset.Abs() > clockWarning {
		outcome = outcomeWarning
	}
	v.step(stepClock, outcome, fmt.Sprintf("the server's clock is %s from ours", offset.Round(time.Second)), 0)
	return true
}
