package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"strings"
	"syscall"
	"time"

	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/netdiag"
)

// The codes of certificates of other programs.
const (
	CodeCertExpiring fault.Code = "certificate/expiring"
	CodeCertExpired  fault.Code = "certificate/expired"
	CodeCertInvalid  fault.Code = "certificate/invalid"
)

// maxPEM bounds a certificate, key or bundle file, in bytes.
const maxPEM = 1 << 20

// certificateCheck looks at one certificate file.
func certificateCheck(item Certificate) check.Check {
	return check.Check{
		Name: "watch.certificate", Resource: item.Name,
		Codes: []fault.Code{CodeCertExpiring, CodeCertExpired, CodeCertInvalid},
		Every: item.Every, Timeout: 10 * time.Second, Version: fmt.Sprint(item),
		Run: func(_ context.Context, r *check.Report) { lookAtCertificate(r, item, time.Now()) },
	}
}

func lookAtCertificate(r *check.Report, item Certificate, now time.Time) {
	in, failed := readCertificate(item)
	if failed.local() {
		return // this process lacks something: that says nothing of the files
	}
	if in.Cert == nil {
		r.Present(CodeCertInvalid, failed.err, failed.sense(item))
		return // expiry was not seen
	}
	rep := judgedForAll(in, now, item)
	if failed.err != nil { // of the key or the roots: the certificate itself is still judged
		r.PresentAt(failed.severity(), CodeCertInvalid, failed.err, failed.sense(item))
	} else {
		judgeValidity(r, item, rep)
	}
	judgeExpiry(r, item, rep)
}

// judgedForAll judges the files once, and the certificate for each name that it
// must hold.
func judgedForAll(in netdiag.CertificateInput, now time.Time, item Certificate) netdiag.CertificateReport {
	o := netdiag.CertificateOptions{Warning: item.Warning, Major: item.Major}
	if len(item.Names) == 0 {
		return netdiag.CheckCertificate(in, now, o)
	}
	o.Usage = netdiag.UsageServer // who has names for others to ask for is a server
	var rep netdiag.CertificateReport
	for i, name := range item.Names {
		o.Name = name
		one := netdiag.CheckCertificate(in, now, o)
		if i == 0 {
			rep = one
			continue
		}
		for _, f := range one.Findings {
			if f.Status == netdiag.CertName {
				rep.Findings = append(rep.Findings, f)
			}
		}
	}
	return rep
}

// judgeValidity judges everything but the end of the certificate's life.
func judgeValidity(r *check.Report, item Certificate, rep netdiag.CertificateReport) {
	bad, severity := rep.Invalid(), fault.None
	if len(bad) == 0 {
		for _, f := range rep.Findings {
			if f.Status == netdiag.CertChainOrder { // forgiven by some clients, refused by others
				bad, severity = append(bad, f), fault.Warning
			}
		}
	}
	if len(bad) == 0 {
		r.Absent(CodeCertInvalid)
		return
	}
	var words, statuses []string
	for _, f := range bad {
		words = append(words, f.Detail)
		statuses = append(statuses, string(f.Status))
	}
	sense := certificateSense(item, rep)
	sense["qualifier"], sense["status"] = string(bad[0].Status), strings.Join(statuses, ", ")
	if bad[0].Status == netdiag.CertUntrusted && rep.Has(netdiag.CertSelfSigned) {
		sense["qualifier"] = string(netdiag.CertSelfSigned)
	}
	r.PresentAt(severity, CodeCertInvalid, errors.New(strings.Join(words, "; ")), sense)
}

func judgeExpiry(r *check.Report, item Certificate, rep netdiag.CertificateReport) {
	if rep.Leaf == nil {
		return
	}
	until, sense := rep.Leaf.NotAfter.UTC().Format(time.RFC3339), certificateSense(item, rep)
	if rep.Expired() {
		r.Present(CodeCertExpired, fmt.Errorf("expired at %s", until), sense)
		return // "expiring" is over, not disproved
	}
	r.Absent(CodeCertExpired)
	if severity, expiring := rep.Expiring(); expiring {
		r.PresentAt(severityOf(severity), CodeCertExpiring, expiringError(rep), sense)
		return
	}
	r.Absent(CodeCertExpiring)
	r.Proved("%s is valid until %s", rep.Leaf.Subject, until)
}

// expiringError names each certificate of the file that is near its end: it
// need not be the leaf.
func expiringError(rep netdiag.CertificateReport) error {
	var words []string
	for _, f := range rep.Findings {
		if f.Status == netdiag.CertExpiring || f.Status == netdiag.CertChainExpiring {
			words = append(words, f.Detail)
		}
	}
	return errors.New(strings.Join(words, "; "))
}

func severityOf(s string) fault.Severity {
	var severity fault.Severity
	if severity.UnmarshalText([]byte(s)) != nil {
		return fault.None // the entry's
	}
	return severity
}

func certificateSense(item Certificate, rep netdiag.CertificateReport) map[string]string {
	sense := map[string]string{"path": item.Path}
	if rep.Leaf != nil {
		maps.Copy(sense, peerSense(rep.Leaf, rep.Left, rep.Leaf.NotAfter.Sub(rep.Leaf.NotBefore)))
	}
	return sense
}

// unread is why a file could not be read; the zero value: all were.
type unread struct {
	status netdiag.CertStatus
	path   string
	err    error
}

// local claims that this process could not look, whatever the file is like.
func (u unread) local() bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(u.err, e) {
			return true
		}
	}
	return false
}

// severity is the entry's, but a warning where only we may not read: the
// program whose key it is probably may.
func (u unread) severity() fault.Severity {
	if errors.Is(u.err, fs.ErrPermission) {
		return fault.Warning
	}
	return fault.None
}

func (u unread) sense(item Certificate) map[string]string {
	sense := map[string]string{"qualifier": string(u.status), "path": item.Path, "status": string(u.status)}
	if u.path != item.Path {
		sense["file"] = u.path
	}
	return sense
}

// readCertificate reads the item's files as far as they can be read.
func readCertificate(item Certificate) (in netdiag.CertificateInput, failed unread) {
	for _, f := range []struct {
		path   string
		into   *[]byte
		status netdiag.CertStatus
	}{
		{item.Path, &in.Cert, netdiag.CertUnreadable},
		{item.KeyPath, &in.Key, netdiag.CertKeyUnreadable},
		{item.RootsPath, &in.Roots, netdiag.CertUntrusted},
	} {
		if f.path == "" {
			continue
		}
		data, err := readBounded(f.path)
		if err != nil {
			return in, unread{f.status, f.path, err}
		}
		*f.into = data
	}
	return in, unread{}
}

// readBounded reads a regular file. It never waits: opening a pipe that nobody
// writes to would hang the look.
func readBounded(path string) (data []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only: nothing to lose
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	data, err = io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxPEM {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxPEM)
	}
	return data, nil
}
