package backup

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"allclear/internal/wire"
)

// ucsTime is how the appliance writes times (seed 000, the fault line).
const ucsTime = "2006-01-02T15:04:05.000"

// ucsLine is a run in the form of the appliance's fault line: severity, code,
// instance, object, cause, count, created, last transition, description. The
// description keeps the appliance's frame and names the true cause where the
// appliance blamed address, password, space or access alike (R0-10..R0-14).
func ucsLine(b *wire.BackupRun, node string, count int, since time.Time) string {
	end := b.Started
	if b.Ended != nil {
		end = *b.Ended
	}
	object := "sys/backup-" + b.Target
	id := instance(node, b.Job)
	if b.State == stateSuccess {
		return fmt.Sprintf("[Cleared] F999723 %d %s Fsm Succeeded %d %s %s [FSM:SUCCESS]: internal system backup(FSM:sam:dme:MgmtBackupBackup). %d files, %d bytes, verified.#",
			id, object, max(1, count), since.UTC().Format(ucsTime), end.UTC().Format(ucsTime), b.Files, b.Bytes)
	}
	why := strings.TrimRight(oneLine(b.Result.Text), ".# ")
	if b.Result.Code != "" {
		why = string(b.Result.Code) + ": " + why
	}
	return fmt.Sprintf("[Critical] F999723 %d %s Fsm Failed %d %s %s [FSM:FAILED]: internal system backup(FSM:sam:dme:MgmtBackupBackup). Remote-Invocation-Error: %s.#",
		id, object, max(1, count), since.UTC().Format(ucsTime), end.UTC().Format(ucsTime), why)
}

// instance is the number of the job's fault on this node: the same each time.
func instance(node, job string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(node + "\x00" + job)) // a hash takes all
	return h.Sum32() % 10_000_000
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
}
