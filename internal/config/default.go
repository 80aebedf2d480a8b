package config

import (
	"log/slog"
	"time"
)

const day = 24 * time.Hour

// The bounds of every interval and timeout. Timers look at a target at most once in ten seconds, because servers lock
// out whoever knocks more often (OpenSSH PerSourcePenalties).
const (
	minInterval = 10 * time.Second
	maxInterval = 7 * day
	minTimeout  = time.Second
	maxTimeout  = 2 * time.Minute
)

// Default is the configuration of an agent without a file. Every default of the program stands here or in the
// functions below, once.
func Default() *Config {
	return &Config{
		Listen: "127.0.0.1:9191",
		State:  State{History: 90 * day, HistoryFaults: 20_000, Ballast: 8 << 20},
		Limits: Limits{ActiveFaults: 10_000, Sense: 4 << 10, Text: 1 << 10},
		API:    API{GroupRole: RoleViewer},
		Log:    Log{Level: slog.LevelInfo},
		Checks: Checks{Parallel: 16},
		Host: Host{
			Disk:   Disk{Interval: time.Minute, Warning: 2 << 30, Major: 512 << 20},
			Clock:  Clock{Interval: 10 * time.Second, Step: 2 * time.Second},
			Memory: Memory{Interval: time.Minute, Need: 64 << 20},
		},
	}
}

func defaultSSH() SSH {
	return SSH{Policy: "openssh-9", Interval: 5 * time.Minute, Timeout: 15 * time.Second}
}

func defaultTLS() TLS {
	return TLS{MinTLS: "1.2", Interval: time.Minute, Timeout: 15 * time.Second}
}

func defaultHTTP() HTTP {
	return HTTP{Method: "GET", Path: "/", ExpectStatus: 200}
}

func defaultCertificate() Certificate {
	return Certificate{Warning: 30 * day, Major: 7 * day, Interval: time.Hour}
}

func defaultSyslog() Syslog {
	const daemon = 3 // RFC 5424 section 6.2.1
	return Syslog{Facility: daemon}
}

func defaultSNMP() SNMP { return SNMP{Version: "2c"} }

func defaultJournald() Journald { return Journald{Socket: "/run/systemd/journal/socket"} }
