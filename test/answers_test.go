package test

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"
	"testing"
	"time"

	"trireme/test/cluster"
)

// answers waits until each machine answers each URL as it should.
func answers(t *testing.T, c *cluster.Cluster, ca *x509.CertPool, want map[string]string) {
	t.Helper()
	for _, h := range c.Hosts {
		for url, want := range want {
			await(t, h, 10*time.Second, url+" is answered", func() error {
				got, err := ask(t, c.Outside(), h.Address, url, ca)
				if err == nil && got != want {
					err = fmt.Errorf("answered %q, want %q", got, want)
				}
				return err
			})
		}
	}
}

// underLoad asks every machine all the time while change runs: no request may fail. ctx
// ends with change.
func underLoad(t *testing.T, c *cluster.Cluster, change func(ctx context.Context)) {
	t.Helper()
	outcomes := make([]cluster.Outcome, len(c.Hosts))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for i, h := range c.Hosts {
		wg.Go(func() { outcomes[i] = cluster.Load{From: c.Outside(), URL: "http://" + h.Address + "/"}.Run(ctx) })
	}
	change(ctx)
	stop()
	wg.Wait()
	for i, o := range outcomes {
		t.Logf("%s: %s", c.Hosts[i].Name, o)
		if o.Failed > 0 || o.Requests < 100 {
			t.Errorf("%s: %s", c.Hosts[i].Name, o)
		}
	}
}
