package fetch

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// The pace of connections, whose bytes the limit on stalls covers.
const (
	dialTimeout  = 30 * time.Second
	redirectsMax = 10
)

// client returns one that reaches what the task may reach: an agent stands where its node's
// loopback is, a pod with a network of its own does not.
func client(loopback bool) *http.Client {
	d := &net.Dialer{Timeout: dialTimeout}
	if !loopback {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if a := at.Addr().Unmap(); a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() {
				return fmt.Errorf("%s is an address of the node alone, which a pod with a network of its own does not reach", a)
			}
			return nil
		}
	}
	return &http.Client{
		Transport: &http.Transport{DialContext: d.DialContext, TLSHandshakeTimeout: dialTimeout, DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) >= redirectsMax {
				return fmt.Errorf("more than %d redirections", redirectsMax)
			}
			return nil
		},
	}
}

// download asks for what the URI names; the answer ends with an error where it stalls.
func download(ctx context.Context, uri string, loopback bool, l Limits) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(l.Stall, func() { cancel(fmt.Errorf("not a byte came for %s", l.Stall)) })
	b := &body{ctx: ctx, cancel: cancel, timer: timer, stall: l.Stall}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		b.stop()
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity") // the file as it is
	resp, err := client(loopback).Do(req)
	if err != nil {
		defer b.stop()
		return nil, b.why(err)
	}
	b.from = resp.Body
	if resp.StatusCode != http.StatusOK {
		defer b.Close()
		return nil, fmt.Errorf("the server answers %s", resp.Status)
	}
	if resp.ContentLength > l.FileBytes {
		defer b.Close()
		return nil, fmt.Errorf("the file is larger than the limit of %d bytes", l.FileBytes)
	}
	return b, nil
}

// body is what a server sends, as long as it does.
type body struct {
	ctx    context.Context // of this one answer
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
	from   io.ReadCloser
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	if n > 0 {
		b.timer.Reset(b.stall)
	}
	if err != nil && err != io.EOF {
		err = b.why(err)
	}
	return n, err
}

// why is the reason for which the download was given up, where it was.
func (b *body) why(err error) error {
	if cause := context.Cause(b.ctx); cause != nil {
		return cause
	}
	return err
}

func (b *body) stop() {
	b.timer.Stop()
	b.cancel(nil)
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.stop()
	return b.from.Close()
}
