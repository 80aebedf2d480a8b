package lab

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// ProxyOptions are the switches of a CONNECT proxy. The zero value is a proxy
// that connects whatever it is asked to.
type ProxyOptions struct {
	TLS      bool // speak TLS to the client; fixed at the start
	Pair     *Pair
	Status   int    // answer CONNECT with this status instead of working
	Scheme   string // Proxy-Authenticate sent with 407, such as "Basic" or "Negotiate"
	User     string // with Password: demand these by Basic
	Password string
	Hang     bool   // read CONNECT, never answer
	Close    bool   // read CONNECT, then close
	Garbage  string // answer CONNECT with this
}

// Proxy is a running CONNECT proxy (RFC 9110 section 9.3.6).
type Proxy struct {
	srv *server
	opt switches[ProxyOptions]
}

// Proxy starts a CONNECT proxy.
func (l *Lab) Proxy(o ProxyOptions) (*Proxy, error) {
	own, err := l.Issue(CertOptions{})
	if err != nil {
		return nil, err
	}
	srv, err := l.listen()
	if err != nil {
		return nil, err
	}
	p := &Proxy{srv: srv}
	p.opt.now = o
	overTLS := o.TLS
	srv.start(func(c net.Conn) {
		if !overTLS {
			p.handle(c)
			return
		}
		pair := p.opt.get().Pair
		if pair == nil {
			pair = own
		}
		p.handle(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair.TLS}}))
	})
	return p, nil
}

// Addr is host:port.
func (p *Proxy) Addr() string { return p.srv.addr() }

// Set changes the switches from the next connection on.
func (p *Proxy) Set(change func(*ProxyOptions)) { p.opt.set(change) }

func (p *Proxy) handle(c net.Conn) {
	in := bufio.NewReader(io.LimitReader(c, 64<<10))
	req, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	o := p.opt.get()
	switch {
	case o.Hang:
		drain(c)
	case o.Close:
	case o.Garbage != "":
		_, _ = io.WriteString(c, o.Garbage)
	case o.Status != 0:
		p.refuse(c, o.Status, o.Scheme)
	case req.Method != http.MethodConnect:
		p.refuse(c, http.StatusMethodNotAllowed, "")
	case o.User != "" && !authorised(req, o):
		p.refuse(c, http.StatusProxyAuthRequired, "Basic")
	default:
		p.tunnel(c, in, req.Host)
	}
}

func authorised(r *http.Request, o ProxyOptions) bool {
	code, ok := strings.CutPrefix(r.Header.Get("Proxy-Authorization"), "Basic ")
	got, err := base64.StdEncoding.DecodeString(code)
	return ok && err == nil && string(got) == o.User+":"+o.Password
}

func (p *Proxy) refuse(c net.Conn, status int, scheme string) {
	auth := ""
	if status == http.StatusProxyAuthRequired && scheme != "" {
		auth = fmt.Sprintf("Proxy-Authenticate: %s realm=\"lab\"\r\n", scheme)
	}
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %d %s\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n", status, http.StatusText(status), auth)
}

func (p *Proxy) tunnel(c net.Conn, in io.Reader, host string) {
	up, err := net.DialTimeout("tcp", host, 2*time.Second)
	if err != nil {
		p.refuse(c, http.StatusBadGateway, "")
		return
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = up.Close()
		return
	}
	splice(p.srv, c, in, up)
}

// splice copies both ways until either side ends, then closes both.
func splice(s *server, c net.Conn, in io.Reader, up net.Conn) {
	if !s.track(up) {
		_ = up.Close()
		return
	}
	defer s.forget(up)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(up, in)
		_ = up.Close()
	})
	_, _ = io.Copy(c, up)
	_ = c.Close()
	wg.Wait()
}
