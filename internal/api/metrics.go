package api

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"allclear/internal/agent"
	"allclear/internal/fault"
	"allclear/internal/wire"
)

// maxSeries bounds the series of one metric whose labels come from resources:
// the gravest faults and the first checks by name are shown, and
// allclear_series_left_out counts the rest.
const maxSeries = 1000

// collector reads the agent at each scrape; nothing is kept between.
type collector struct {
	agent   *agent.Agent
	version wire.Version

	faultActive, faults, drills, leftOut   *prometheus.Desc
	lastSuccess, duration, checks          *prometheus.Desc
	seq, held, bytes, failing, tick, build *prometheus.Desc
}

func newCollector(a *agent.Agent, v wire.Version) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("allclear_"+name, help, labels, nil)
	}
	return &collector{
		agent: a, version: v,
		faultActive: desc("fault_active", "1 for each active fault, drills left out.", "code", "severity", "resource"),
		faults:      desc("faults", "Active faults by shown severity, drills left out.", "severity"),
		drills:      desc("drill_faults", "Active faults of drills, which count nowhere else."),
		leftOut:     desc("series_left_out", "Series not shown because a metric is at its bound.", "metric"),
		lastSuccess: desc("check_last_success_timestamp_seconds", "When a look of the check last judged something; 0 for never.", "check"),
		duration:    desc("check_duration_seconds", "How long the newest look of the check took.", "check"),
		checks:      desc("checks", "Checks by state.", "state"),
		seq:         desc("journal_seq", "Seq of the last durable event."),
		held:        desc("journal_held_events", "Events in memory that are not durable yet."),
		bytes:       desc("journal_size_bytes", "Bytes of the journal's database and log."),
		failing:     desc("journal_failing", "1 while the journal cannot store."),
		tick:        desc("journal_last_tick_timestamp_seconds", "When the journal's writer last answered."),
		build:       desc("build_info", "1; what the agent was built from.", "version", "revision", "go_version"),
	}
}

// Describe sends the descriptions.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.faultActive, c.faults, c.drills, c.leftOut, c.lastSuccess, c.duration, c.checks,
		c.seq, c.held, c.bytes, c.failing, c.tick, c.build,
	} {
		ch <- d
	}
}

// Collect reads the agent.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	c.collectFaults(gauge)
	c.collectChecks(gauge)
	h := c.agent.Recorder().Health()
	_, seq := c.agent.Recorder().Head()
	gauge(c.seq, float64(seq))
	gauge(c.held, float64(h.Held))
	gauge(c.bytes, float64(h.Bytes))
	gauge(c.failing, truth(!h.Failing.IsZero()))
	gauge(c.tick, seconds(c.agent.Alive()))
	gauge(c.build, 1, c.version.Version, c.version.Revision, c.version.Go)
}

type gauges func(d *prometheus.Desc, v float64, labels ...string)

func (c *collector) collectFaults(gauge gauges) {
	sum := c.agent.Recorder().Summary()
	for sev := fault.Warning; sev <= fault.Critical; sev++ {
		gauge(c.faults, float64(sum.BySeverity[sev]), sev.String())
	}
	gauge(c.drills, float64(sum.Drills))
	views, _ := c.agent.Recorder().Page(0, 1<<30, func(f *fault.Fault) bool { return f.Active && !f.Key.Drill() })
	slices.SortStableFunc(views, func(a, b fault.View) int { return cmp.Compare(b.Shown, a.Shown) })
	for _, v := range views[:min(len(views), maxSeries)] {
		gauge(c.faultActive, 1, string(v.Key.Code), v.Shown.String(), v.Key.Resource)
	}
	gauge(c.leftOut, float64(max(0, len(views)-maxSeries)), "allclear_fault_active")
}

func (c *collector) collectChecks(gauge gauges) {
	states := map[string]int{"proved": 0, "faulty": 0, "not-monitored": 0, "stale": 0, "not-yet": 0, "failing": 0}
	shown, all := 0, 0
	for _, ck := range c.agent.Checks() {
		if (fault.Key{Resource: ck.Resource}).Drill() {
			continue
		}
		states[ck.State]++
		if all++; all > maxSeries {
			continue
		}
		shown++
		last := time.Time{}
		if ck.LastConclusive != nil {
			last = *ck.LastConclusive
		}
		gauge(c.lastSuccess, seconds(last), ck.ID)
		if ck.Last != nil {
			gauge(c.duration, float64(ck.Last.DurationMS)/1000, ck.ID)
		}
	}
	for state, n := range states {
		gauge(c.checks, float64(n), state)
	}
	gauge(c.leftOut, float64(all-shown), "allclear_check_last_success_timestamp_seconds")
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// seconds is Unix time; 0 for the zero time.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func newRegistry(s *Server) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		newCollector(s.opts.Agent, s.opts.Version),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) error {
	if !s.mayScrape(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="allclear metrics"`)
		return refuse(http.StatusUnauthorized, "no-token", "send the token of the configuration as a bearer token", "/metrics needs its token")
	}
	promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}).ServeHTTP(w, r)
	return nil
}
