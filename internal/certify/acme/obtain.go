package acme

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/sync/errgroup"

	"trireme/internal/certify/ask"
	"trireme/internal/object"
	"trireme/internal/object/route"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// obtain takes an order from where it is to its certificate: the chain, as DER.
func (k *Keeper) obtain(ctx context.Context, a *ask.Ask, o *order) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	c, err := k.account(ctx)
	if err != nil {
		return nil, err
	}
	at, err := k.open(ctx, c, a, o)
	if err != nil {
		return nil, err
	}
	if at.Status == acme.StatusPending {
		if err := k.authorize(ctx, c, object.KeyOf(a.Ingress), at.AuthzURLs); err != nil {
			return nil, err
		}
	}
	if at.Status != acme.StatusValid {
		if at, err = c.WaitOrder(ctx, o.URL); err != nil {
			return nil, err
		}
	}
	if at.Status == acme.StatusValid {
		return c.FetchCert(ctx, at.CertURL, true)
	}
	key, err := o.signer()
	if err != nil {
		return nil, fmt.Errorf("reading the key in secret %s: %w", a.Beside().Name, err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: a.Hosts}, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := c.CreateCertFromOrder(ctx, at, request, true)
	return chain, err
}

// open returns the order at the server, making it where there is none.
func (k *Keeper) open(ctx context.Context, c *acme.Client, a *ask.Ask, o *order) (*acme.Order, error) {
	if o.URL != "" {
		return c.GetOrder(ctx, o.URL)
	}
	at, err := c.AuthorizeOrder(ctx, acme.DomainIDs(a.Hosts...))
	if err != nil {
		return nil, err
	}
	if err := o.begin(at.URI); err != nil {
		return nil, err
	}
	return at, k.update(ctx, func(tx *store.Tx) { o.save(tx, a) })
}

// authorize proves to the server that the hosts of an order lead here.
func (k *Keeper) authorize(ctx context.Context, c *acme.Client, ingress object.Key, urls []string) error {
	var answers []route.Challenge
	var asked []*acme.Challenge
	var waits []string
	for _, url := range urls {
		z, err := c.GetAuthorization(ctx, url)
		if err != nil {
			return err
		}
		if z.Status != acme.StatusPending {
			continue // proved before, or WaitOrder says why not
		}
		n := slices.IndexFunc(z.Challenges, func(c *acme.Challenge) bool { return c.Type == "http-01" })
		if n < 0 {
			return fmt.Errorf("the server does not let %s be proved by HTTP", z.Identifier.Value)
		}
		body, err := c.HTTP01ChallengeResponse(z.Challenges[n].Token)
		if err != nil {
			return err
		}
		answers = append(answers, route.Challenge{Host: z.Identifier.Value, Path: c.HTTP01ChallengePath(z.Challenges[n].Token), Answer: body})
		asked, waits = append(asked, z.Challenges[n]), append(waits, url)
	}
	if len(answers) == 0 {
		return nil
	}
	if err := k.answer(ctx, ingress, answers); err != nil {
		return err
	}
	if err := k.answered(ctx, answers[0]); err != nil {
		return err
	}
	for _, ch := range asked {
		if ch.Status != acme.StatusPending {
			continue // whoever led before has said so
		}
		if _, err := c.Accept(ctx, ch); err != nil {
			return err
		}
	}
	for _, url := range waits {
		if _, err := c.WaitAuthorization(ctx, url); err != nil {
			return err
		}
	}
	return nil
}

// How nodes are asked for an answer.
const (
	spreadTime = 30 * time.Second // for an answer to reach all nodes
	askEvery   = 250 * time.Millisecond
	nodeTime   = 2 * time.Second
)

// answered returns when the nodes that have port 80 answer a challenge, all of an Ingress'
// are there then; and after a while also if one does.
func (k *Keeper) answered(ctx context.Context, c route.Challenge) error {
	ctx, cancel := context.WithTimeout(ctx, spreadTime)
	defer cancel()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		right, wrong := k.count(ctx, c)
		if right > 0 && wrong == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if right > 0 {
				return nil
			}
			return errors.New("no node answers on port 80 with the server's token: is the port somebody else's, does --ingress=false leave all machines out?")
		}
	}
}

// count asks the nodes that answer on port 80, as a status names them: how many answer as
// they should, and otherwise. Those that cannot be reached are neither.
func (k *Keeper) count(ctx context.Context, c route.Challenge) (right, wrong int64) {
	var r, w atomic.Int64
	var g errgroup.Group
	for _, address := range route.Addresses(tables.Fronts(k.cfg.Store.Snapshot()), []route.Port{{Port: route.HTTPPort}}) {
		g.Go(func() error {
			switch body, err := k.ask(ctx, address, c); {
			case err != nil:
			case body == c.Answer:
				r.Add(1)
			default:
				w.Add(1)
			}
			return nil
		})
	}
	_ = g.Wait() // they return none
	return r.Load(), w.Load()
}

// ask returns what a node answers.
func (k *Keeper) ask(ctx context.Context, address string, c route.Challenge) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(address, strconv.Itoa(route.HTTPPort))+c.Path, nil)
	if err != nil {
		return "", err
	}
	req.Host = c.Host
	resp, err := k.cfg.Nodes.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, int64(len(c.Answer)+1)))
	return strings.TrimSpace(string(b)), err
}
