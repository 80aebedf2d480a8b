package notify

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/gosnmp/gosnmp"

	"allclear/internal/fault"
)

// The objects of dist/mibs/ALLCLEAR-MIB.txt. They lie below net-snmp's
// playground (netSnmpPlaypen), which is for programs without an enterprise
// number, until the project has one of its own.
const (
	mibRoot    = "1.3.6.1.4.1.8072.9999.9999.632"
	mibNotices = mibRoot + ".0."
	mibObjects = mibRoot + ".1."

	oidUptime = "1.3.6.1.2.1.1.3.0"
	oidTrap   = "1.3.6.1.6.3.1.1.4.1.0"
)

// SNMPOptions describe an SNMP manager.
type SNMPOptions struct {
	Target    string                 // host:port
	Community func() (string, error) // asked for each trap
	Started   time.Time              // of the agent, for sysUpTime
}

// NewSNMP returns the sink of an SNMP manager that takes traps of version 2c.
// Version 3 is left out: its traps need a record of engine boots to be worth
// their authentication.
func NewSNMP(o SNMPOptions) (*SNMP, error) {
	host, port, err := net.SplitHostPort(o.Target)
	if err != nil {
		return nil, fmt.Errorf("the address of the SNMP manager: %w", err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("the port of the SNMP manager: %w", err)
	}
	return &SNMP{o, host, uint16(n)}, nil
}

// SNMP is an SNMP manager. It is safe for concurrent use.
type SNMP struct {
	o    SNMPOptions
	host string
	port uint16
}

// Deliver sends one trap; of a digest each fault is a trap of its own.
func (s *SNMP) Deliver(ctx context.Context, m Message) (string, error) {
	community, err := s.o.Community()
	if err != nil {
		return "", err
	}
	g := &gosnmp.GoSNMP{
		Target: s.host, Port: s.port, Transport: "udp", Community: community, Version: gosnmp.Version2c,
		Timeout: deadline, MaxOids: gosnmp.MaxOids, Context: ctx,
	}
	if err := g.Connect(); err != nil {
		return "", fmt.Errorf("reach the SNMP manager: %w", err)
	}
	defer g.Conn.Close()
	all := append([]Message{m}, m.Items...)
	for i := range all {
		if _, err := g.SendTrap(gosnmp.SnmpTrap{Variables: s.variables(&all[i])}); err != nil {
			return "", fmt.Errorf("send a trap: %w", err)
		}
	}
	return count(len(all), "trap") + " sent; there are no answers", quiet(g.Conn)
}

// trapNumbers are the notifications of the MIB.
func trapNumber(t Type) string {
	switch t {
	case Raise:
		return "1"
	case Change:
		return "2"
	case Clear:
		return "3"
	case Test:
		return "4"
	}
	return "5"
}

// textMost is how long a text in a trap may be, in bytes: a trap should fit
// into one datagram of 1472 bytes.
const textMost = 255

func (s *SNMP) variables(m *Message) []gosnmp.SnmpPDU {
	f := &m.Fault
	uptime := uint32(time.Since(s.o.Started).Milliseconds() / 10) // TimeTicks wrap, RFC 2578 section 7.1.8
	all := []gosnmp.SnmpPDU{
		{Name: oidUptime, Type: gosnmp.TimeTicks, Value: uptime},
		{Name: oidTrap, Type: gosnmp.ObjectIdentifier, Value: mibNotices + trapNumber(m.Type)},
	}
	text := func(n int, v string) {
		all = append(all, gosnmp.SnmpPDU{Name: mibObjects + strconv.Itoa(n) + ".0", Type: gosnmp.OctetString, Value: cut(oneLine(v), textMost)})
	}
	number := func(n, v int) {
		all = append(all, gosnmp.SnmpPDU{Name: mibObjects + strconv.Itoa(n) + ".0", Type: gosnmp.Integer, Value: v})
	}
	text(1, m.Node)
	text(2, m.ID)
	text(3, headline(m))
	if f.Code == "" {
		return all
	}
	text(4, string(f.Code))
	text(5, f.Resource)
	number(6, itu(m))
	text(7, f.Text)
	all = append(all, gosnmp.SnmpPDU{Name: mibObjects + "8.0", Type: gosnmp.Gauge32, Value: uint32(f.ID)})
	text(9, when(f.RaisedAt).Format(time.RFC3339))
	number(10, truth(f.Durable))
	number(11, truth(f.Drill))
	return all
}

// itu is ItuPerceivedSeverity of RFC 3877.
func itu(m *Message) int {
	if m.Type == Clear {
		return 1
	}
	switch m.Fault.Severity {
	case fault.Critical:
		return 3
	case fault.Major:
		return 4
	case fault.Minor:
		return 5
	case fault.Warning:
		return 6
	}
	return 2
}

// truth is TruthValue of RFC 2579.
func truth(b bool) int {
	if b {
		return 1
	}
	return 2
}

// Probe finds the way to the manager; traps cannot prove more.
func (s *SNMP) Probe(ctx context.Context) (string, error) {
	conn, err := dial(ctx, "udp", s.o.Target)
	if err != nil {
		return "", err
	}
	if _, err := s.o.Community(); err != nil {
		_ = conn.Close() // the other error counts
		return "", err
	}
	return "there is a way to the manager; traps cannot prove more", conn.Close()
}

// Close has nothing to let go of.
func (s *SNMP) Close() {}
