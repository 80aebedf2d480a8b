package netdiag

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// judgeAnswer compares the answer with what is expected; "" when it is that.
func (r *run) judgeAnswer(a *answer) (Cause, string) {
	want, h := r.t.HTTP, r.rep.HTTP
	status := fmt.Sprintf("%d %s", h.Status, http.StatusText(h.Status))
	if want.ExpectStatus != 0 && h.Status == want.ExpectStatus {
		return r.judgeContent(a)
	}
	switch {
	case h.Status == http.StatusNetworkAuthenticationRequired: // RFC 6585 section 6
		return HTTPPortal, status
	case h.Status >= 300 && h.Status < 400 && h.Location != "":
		return r.judgeRedirect(a, status)
	case h.Status == http.StatusUnauthorized:
		return HTTPUnauthorized, status + suffix(clip(h.authenticate), ", it offers ")
	case h.Status == http.StatusForbidden:
		return HTTPForbidden, status
	case h.Status == http.StatusNotFound:
		return HTTPNotFound, status + " for " + r.t.HTTP.Path
	case h.Status == http.StatusProxyAuthRequired:
		return HTTPProxyAuth, status
	case h.Status == http.StatusTooManyRequests:
		return HTTPRateLimited, status + suffix(h.RetryAfter, ", retry after ")
	case h.Status >= 500:
		return HTTPServerError, status + suffix(h.RetryAfter, ", retry after ")
	case h.Status < 200 || h.Status >= 300 || want.ExpectStatus != 0:
		return HTTPStatus, status + expected(want.ExpectStatus)
	}
	return r.judgeContent(a)
}

func expected(status int) string {
	if status == 0 {
		return ""
	}
	return fmt.Sprintf(", expected %d", status)
}

func (r *run) judgeRedirect(a *answer, status string) (Cause, string) {
	to, err := a.resp.Location()
	if err != nil {
		return HTTPStatus, status + " to a Location that is no address"
	}
	if !strings.EqualFold(to.Hostname(), a.resp.Request.URL.Hostname()) {
		return HTTPForeignRedirect, status + " to " + clip(to.Host)
	}
	if r.t.HTTP.ExpectStatus != 0 {
		return HTTPStatus, status + expected(r.t.HTTP.ExpectStatus)
	}
	return "", ""
}

// judgeContent looks at type, wholeness and gRPC status of a welcome status.
func (r *run) judgeContent(a *answer) (Cause, string) {
	want, h := r.t.HTTP, r.rep.HTTP
	if want.ExpectType != "" && !strings.HasPrefix(strings.ToLower(h.ContentType), strings.ToLower(want.ExpectType)) {
		if strings.HasPrefix(strings.ToLower(h.ContentType), "text/html") {
			return HTTPPortal, fmt.Sprintf("HTML instead of %s%s", want.ExpectType, suffix(title(a.body), ", titled "))
		}
		return HTTPType, fmt.Sprintf("%q instead of %s", h.ContentType, want.ExpectType)
	}
	if a.err != nil {
		return HTTPTruncated, fmt.Sprintf("%d bytes came%s: %s", a.size, promised(a), plain(a.err))
	}
	if want.GRPC == "" {
		return "", ""
	}
	switch h.GRPCStatus {
	case "0":
		return "", ""
	case "12": // UNIMPLEMENTED, in the gRPC list of status codes
		return GRPCUnimplemented, want.GRPC + suffix(h.GRPCMessage, ": ")
	case "":
		return GRPCError, "the answer carries no gRPC status"
	}
	return GRPCError, "gRPC status " + h.GRPCStatus + suffix(h.GRPCMessage, ": ")
}

func promised(a *answer) string {
	if a.resp.ContentLength < 0 {
		return ""
	}
	return fmt.Sprintf(" of %d promised", a.resp.ContentLength)
}

// title is the quoted title of an HTML page; "" when it has none.
func title(page []byte) string {
	lower := bytes.ToLower(page)
	_, rest, ok := bytes.Cut(lower, []byte("<title>"))
	if !ok {
		return ""
	}
	start := len(lower) - len(rest)
	end := bytes.IndexByte(rest, '<')
	if end < 0 || len(page) != len(lower) {
		return ""
	}
	return fmt.Sprintf("%q", clip(string(page[start:start+end])))
}

// blameAnswer files a bad answer. A web server may take any certificate in the
// handshake and refuse it by status; nginx says so in its page of a 400.
func (r *run) blameAnswer(st *Step, a *answer, cause Cause, detail string) {
	s := r.shake
	refused := cause == HTTPUnauthorized || cause == HTTPForbidden
	switch {
	case s != nil && s.held != "" && (refused || bytes.Contains(a.body, []byte("No required SSL certificate was sent"))):
		r.fail(st, s.held, detail+"; "+s.why)
	case bytes.Contains(a.body, []byte("No required SSL certificate was sent")) && a.resp.StatusCode == http.StatusBadRequest:
		r.fail(st, ClientCertRequired, detail+"; the page says that no required certificate was sent")
	case bytes.Contains(a.body, []byte("The SSL certificate error")) && a.resp.StatusCode == http.StatusBadRequest:
		r.fail(st, ClientCertStatus, detail+"; the page says that our certificate was not verified")
	default:
		r.fail(st, cause, detail)
	}
}

// The limits of the clock step. Date has a resolution of a second.
const (
	skewWarning = 30 * time.Second
	skewFault   = 5 * time.Minute
)

// clock compares the server's Date with ours.
func (r *run) clock(a *answer) {
	date, err := http.ParseTime(a.resp.Header.Get("Date"))
	if err != nil {
		r.skip(StepClock, "the answer carries no Date")
		return
	}
	st := begin(StepClock)
	off := date.Sub(a.at)
	ms := off.Milliseconds()
	r.rep.ClockOffsetMS = &ms
	st.Evidence["offset_s"] = fmt.Sprintf("%.0f", off.Seconds())
	detail := fmt.Sprintf("the server's clock is %s from ours", off.Round(time.Second))
	switch size := off.Abs(); {
	case size > skewFault && r.rep.Cause == "":
		r.fail(st, ClockWrong, detail)
	case size > skewFault:
		r.add(st, Warning, ClockWrong, detail)
	case size > skewWarning:
		r.add(st, Warning, ClockSkew, detail)
	default:
		r.ok(st, detail)
	}
}
