package kmiptest_test

import (
	"cmp"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"allclear/kmip"
	"allclear/kmip/internal/oasis"
	"allclear/kmip/kmiptest"
	"allclear/kmip/ttlv"
)

var oasisDir = flag.String("oasis", "", "folder of other OASIS KMIP 1.x cases, searched with the folders in it")

// TestOASISCasesAreAnsweredAsExpected sends the requests of each case to a server and compares result status and
// reason with the case's own responses. The cases of a folder are replayed in the order of their names on one server,
// as some go on with what an earlier one left; a case that fails there has another try on a server of its own, and then
// on one that clients may not seed, for the cases exclude each other in this.
func TestOASISCasesAreAnsweredAsExpected(t *testing.T) {
	dir := cmp.Or(*oasisDir, "../testdata/oasis-1.0")
	files, err := xmlFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	shared := start(t, kmiptest.Options{})
	codec, replayed := 0, 0
	for _, file := range files {
		name, _ := filepath.Rel(dir, file)
		ok := t.Run(strings.TrimSuffix(name, ".xml"), func(t *testing.T) {
			c, err := readCase(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := oasis.Codec(c); err != nil {
				t.Errorf("codec: %v", err)
			} else {
				codec++
			}
			err = replay(t, shared, c)
			for i := 0; err != nil && i < 2; i++ {
				again := start(t, kmiptest.Options{RefuseSeed: i == 1})
				if replay(t, again, c) == nil {
					err = nil
				}
			}
			if err != nil {
				t.Fatalf("replay: %v", err)
			}
			replayed++
		})
		if !ok && *oasisDir == "" {
			t.Errorf("%s fails", name)
		}
	}
	if *oasisDir == "" && replayed != 84 {
		t.Errorf("%d cases of 84 are answered as expected", replayed)
	}
	say(t, fmt.Sprintf("oasis: codec %d/%d, replay %d/%d\n", codec, len(files), replayed, len(files)))
}

func xmlFiles(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.EqualFold(filepath.Ext(path), ".xml") {
			files = append(files, path)
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there is no case (*.xml) in %s", dir)
	}
	slices.Sort(files)
	return files, err
}

func readCase(file string) (*oasis.Case, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return oasis.Read(strings.TrimSuffix(filepath.Base(file), ".xml"), f)
}

// replay sends the requests of a case over one connection.
func replay(t *testing.T, r *rig, c *oasis.Case) error {
	t.Helper()
	conn, err := tls.Dial("tcp", r.Address(), r.client(t, "replay"))
	if err != nil {
		return err
	}
	defer conn.Close()
	vars, seen := &oasis.Vars{Now: time.Now(), Text: map[string]string{}}, harvest{}
	for i, step := range c.Steps {
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return err
		}
		req, err := step.Request.TTLV(vars)
		if err != nil {
			return fmt.Errorf("request %d: %w", i+1, err)
		}
		if _, err := conn.Write(req); err != nil {
			return fmt.Errorf("send request %d: %w", i+1, err)
		}
		got, err := kmip.ReadMessage(conn, ttlv.MaxSize)
		if err != nil {
			return fmt.Errorf("read the answer to request %d: %w", i+1, err)
		}
		if step.Response.IsZero() {
			continue
		}
		if err := step.Response.Capture(got, vars); err != nil {
			return fmt.Errorf("take the variables from answer %d: %w", i+1, err)
		}
		seen.take(got, vars)
		want, err := step.Response.TTLV(vars)
		if err != nil {
			return fmt.Errorf("expected answer %d: %w", i+1, err)
		}
		if g, w := results(got), results(want); !slices.EqualFunc(g, w, result.equal) {
			return fmt.Errorf("answer %d:\n got %v\nwant %v", i+1, g, w)
		}
	}
	return nil
}

// harvest counts the byte strings of the answers to a case by their tags. Cases refer to them without saying so in the
// expected response: $DATA_0 is the first Data that came, $IV_COUNTER_NONCE the last IV/Counter/Nonce.
type harvest map[ttlv.Tag]int

var wordEnd = regexp.MustCompile("([a-z])([A-Z])|([A-Z])([A-Z][a-z])")

func (h harvest) take(items []byte, vars *oasis.Vars) {
	var d ttlv.Decoder
	d.Reset(items)
	for d.More() {
		tag, v := d.Any()
		switch v.Type {
		case ttlv.TypeStructure:
			h.take(v.Body, vars)
		case ttlv.TypeByteString:
			name := strings.ToUpper(wordEnd.ReplaceAllString(tag.ID(), "${1}${3}_${2}${4}"))
			value := hex.EncodeToString(v.Body)
			vars.Text[name] = value
			if numbered := fmt.Sprintf("%s_%d", name, h[tag]); vars.Text[numbered] == "" {
				vars.Text[numbered] = value
			}
			h[tag]++
		}
	}
}

// result is what a batch item of a response says of its operation.
type result struct{ operation, status, reason, message string }

func (r result) equal(o result) bool {
	return r.status == o.status && r.reason == o.reason
}

// results reads a response without the types of package kmip, which might not know a payload.
func results(msg []byte) []result {
	var d ttlv.Decoder
	d.Reset(msg)
	_, top := d.Any()
	d.Reset(top.Body)
	var out []result
	for d.More() {
		tag, v := d.Any()
		if tag != ttlv.TagBatchItem {
			continue
		}
		var r result
		var in ttlv.Decoder
		in.Reset(v.Body)
		for in.More() {
			tag, v := in.Any()
			n, _ := v.Enumeration()
			switch tag {
			case ttlv.TagOperation:
				r.operation = tag.ValueID(n)
			case ttlv.TagResultStatus:
				r.status = tag.ValueID(n)
			case ttlv.TagResultReason:
				r.reason = tag.ValueID(n)
			case ttlv.TagResultMessage:
				r.message, _ = v.Text()
			}
		}
		out = append(out, r)
	}
	return out
}

// say prints the line that sums up a run. "go test" of several packages drops what a package prints that passes, so
// without -v the line goes to where "go test" itself writes, its parent's standard output, if that can be done without
// harm: a file that is not appended to would be overwritten.
func say(t *testing.T, line string) {
	t.Helper()
	if !testing.Verbose() && !t.Failed() {
		out, err := parentOutput()
		if err == nil {
			defer out.Close()
			if _, err = out.WriteString(line); err == nil {
				return
			}
		}
	}
	fmt.Print(line)
}

func parentOutput() (*os.File, error) {
	proc := filepath.Join("/proc", strconv.Itoa(os.Getppid()))
	exe, err := os.Readlink(filepath.Join(proc, "exe"))
	if err != nil || filepath.Base(exe) != "go" {
		return nil, errors.Join(errors.New("the parent is not the go command"), err)
	}
	info, err := os.Stat(filepath.Join(proc, "fd", "1"))
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() {
		b, err := os.ReadFile(filepath.Join(proc, "fdinfo", "1"))
		if err != nil {
			return nil, err
		}
		_, rest, _ := strings.Cut(string(b), "flags:")
		first, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
		flags, err := strconv.ParseInt(strings.TrimSpace(first), 8, 64)
		if err != nil || flags&syscall.O_APPEND == 0 {
			return nil, errors.New("the output is a file with a place of its own")
		}
	}
	return os.OpenFile(filepath.Join(proc, "fd", "1"), os.O_WRONLY|os.O_APPEND, 0)
}
