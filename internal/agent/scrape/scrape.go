package scrape

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	// The bounds of one scrape.
	timeMax   = 3 * time.Second
	bodyMax   = 4 << 20
	seriesMax = 1000
)

// Target is where to scrape.
type Target struct {
	URL *url.URL
	// Process is one that runs in the pod: an endpoint on the loopback is reached
	// through its network namespace. 0: none is known.
	Process int
}

// Get returns the series that the target shows.
func (t Target) Get(ctx context.Context) ([]Series, error) {
	ctx, cancel := context.WithTimeout(ctx, timeMax)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4;q=1,*/*;q=0.1")
	req.Header.Set("User-Agent", "trireme-scrape")
	tr := &http.Transport{
		DisableKeepAlives: true, Proxy: nil, DialContext: t.dial,
		// What a pod shows of itself harms nobody but its own scaling.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec
	}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", t.URL, resp.Status)
	}
	body := &io.LimitedReader{R: resp.Body, N: bodyMax + 1}
	series, err := parse(body)
	if body.N == 0 {
		return nil, fmt.Errorf("%s shows more than %d bytes", t.URL, bodyMax)
	}
	return series, err
}

func (t Target) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if !loopback(t.URL) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	if t.Process == 0 {
		return nil, fmt.Errorf("no process of the pod is known to reach %s through", address)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return dialWithin(ctx, t.Process, net.JoinHostPort("127.0.0.1", port))
}
