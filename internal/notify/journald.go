package notify

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// JournaldSocket is where systemd-journald listens.
const JournaldSocket = "/run/systemd/journal/socket"

// NewJournald returns the sink of this host's systemd-journald behind the
// socket. It writes the native protocol itself, forty lines, so that the
// socket can be another one.
func NewJournald(socket string) *Journald { return &Journald{socket} }

// Journald is systemd-journald. It is safe for concurrent use.
type Journald struct{ socket string }

// Deliver sends one message; of a digest each fault is an entry of its own.
func (j *Journald) Deliver(ctx context.Context, m Message) (string, error) {
	conn, err := dial(ctx, "unixgram", j.socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	all := append([]Message{m}, m.Items...)
	for i := range all {
		if _, err := conn.Write(entry(&all[i])); err != nil {
			return "", fmt.Errorf("send to journald: %w", err)
		}
	}
	return count(len(all), "entry") + " taken by journald's socket", nil
}

// The MESSAGE_IDs of our entries: "journalctl MESSAGE_ID=..." finds them.
const (
	messageRaise = "9f4c1d0a6a4b4a0c8f0e3a5a2d7b6c01"
	messageClear = "9f4c1d0a6a4b4a0c8f0e3a5a2d7b6c02"
)

func entry(m *Message) []byte {
	f := &m.Fault
	id := messageRaise
	if m.Type == Clear {
		id = messageClear
	}
	fields := [][2]string{
		{"MESSAGE", strings.Join(plain(m), "\n")},
		{"PRIORITY", strconv.Itoa(priority(m))},
		{"SYSLOG_IDENTIFIER", "allclear"},
		{"MESSAGE_ID", id},
		{"ALLCLEAR_TYPE", string(m.Type)},
		{"ALLCLEAR_EVENT", m.ID},
		{"ALLCLEAR_NODE", m.Node},
	}
	if f.Code != "" {
		fields = append(fields, [][2]string{
			{"ALLCLEAR_CODE", string(f.Code)},
			{"ALLCLEAR_RESOURCE", f.Resource},
			{"ALLCLEAR_SEVERITY", perceived(m)},
			{"ALLCLEAR_FAULT", strconv.FormatUint(f.ID, 10)},
			{"ALLCLEAR_DRILL", strconv.FormatBool(f.Drill)},
			{"ALLCLEAR_DURABLE", strconv.FormatBool(f.Durable)},
		}...)
	}
	return native(fields)
}

// native is journald's native protocol: values with a line break are preceded
// by their length, so that none can begin a field of its own.
func native(fields [][2]string) []byte {
	var b bytes.Buffer
	for _, f := range fields {
		b.WriteString(f[0])
		if !strings.ContainsRune(f[1], '\n') {
			b.WriteString("=" + f[1] + "\n")
			continue
		}
		b.WriteByte('\n')
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(f[1]))))
		b.WriteString(f[1] + "\n")
	}
	return b.Bytes()
}

// Probe connects to the socket.
func (j *Journald) Probe(ctx context.Context) (string, error) {
	conn, err := dial(ctx, "unixgram", j.socket)
	if err != nil {
		return "", err
	}
	return "journald's socket takes datagrams", conn.Close()
}

// Close has nothing to let go of.
func (j *Journald) Close() {}
