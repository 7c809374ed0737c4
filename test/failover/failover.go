// Package failover kills the leading manager of a cluster of three, again and again.
package failover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"trireme/test/cluster"
)

// rounds is how often a leader is killed.
const rounds = 3

// Client returns a client of a host's API, once it answers.
type Client func(context.Context, *cluster.Host) (*kubernetes.Clientset, error)

// Measure returns the seconds from each `kill -9` of the leader to a write that another manager has
// acknowledged, in ascending order. An error is that a watch did not go on there without a gap too.
func Measure(ctx context.Context, binary string, client Client) ([]float64, error) {
	cl, err := cluster.New(ctx, cluster.Config{Hosts: 3, Binary: binary})
	if err != nil {
		return nil, err
	}
	took, err := client.killLeaders(ctx, cl.Hosts)
	for _, h := range cl.Hosts {
		if err != nil {
			err = fmt.Errorf("%w\n%s: %s", err, h.Name, h.LogTail(20))
		}
	}
	slices.Sort(took)
	return took, errors.Join(err, cl.Close())
}

func (client Client) killLeaders(ctx context.Context, hosts []*cluster.Host) (took []float64, err error) {
	if err := hosts[0].Start("up", "--no-agent"); err != nil {
		return nil, err
	}
	if _, err := client(ctx, hosts[0]); err != nil {
		return nil, err
	}
	for _, h := range hosts[1:] {
		if err := h.JoinManager(ctx, hosts[0], "--no-agent"); err != nil {
			return nil, err
		}
		if _, err := leaderOf(ctx, hosts[0], hosts, h); err != nil {
			return nil, err
		}
	}
	for i := 0; ; i++ {
		leads, err := leaderOf(ctx, hosts[0], hosts, hosts...)
		if err != nil {
			return nil, err
		}
		s, err := client.killLeader(ctx, leads, hosts[(slices.Index(hosts, leads)+1)%len(hosts)], fmt.Sprintf("failover-%d", i))
		if err != nil {
			return nil, err
		}
		if took = append(took, s); len(took) == rounds {
			return took, nil
		}
		if err := leads.Restart(); err != nil {
			return nil, err
		}
	}
}

// leaderOf waits until those that are named have a vote and answer, and returns who leads.
func leaderOf(ctx context.Context, h *cluster.Host, hosts []*cluster.Host, voters ...*cluster.Host) (leads *cluster.Host, err error) {
	err = h.Await(ctx, "managers have a vote", func() error {
		out, err := h.Trireme(ctx, "manager", "ls")
		if err != nil {
			return err
		}
		for _, one := range hosts {
			if strings.Contains(joined(out), one.Name+" Leader") {
				leads = one
			}
		}
		for _, one := range voters {
			if one != leads && !strings.Contains(joined(out), one.Name+" Follower "+one.Address) {
				return fmt.Errorf("%s", out)
			}
		}
		return nil
	})
	return leads, err
}

// joined returns a table's words with one space between them.
func joined(table string) string { return strings.Join(strings.Fields(table), " ") }

// killLeader kills who leads, and returns after how many seconds another acknowledged a write.
func (client Client) killLeader(ctx context.Context, leads, other *cluster.Host, name string) (float64, error) {
	cs, err := client(ctx, other)
	if err != nil {
		return 0, err
	}
	maps := cs.CoreV1().ConfigMaps("default")
	before, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	if err := leads.Kill(); err != nil {
		return 0, err
	}
	killed := time.Now()
	if err := other.Await(ctx, "another manager writes", func() error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) { // by a try whose answer was cut off
			return nil
		}
		return err
	}); err != nil {
		return 0, err
	}
	took := time.Since(killed).Seconds()
	w, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: before.ResourceVersion})
	if err != nil {
		return 0, fmt.Errorf("watching on from revision %s: %w", before.ResourceVersion, err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		switch o := e.Object.(type) {
		case *metav1.Status:
			return 0, fmt.Errorf("watching on from revision %s: %s", before.ResourceVersion, o.Message)
		case *corev1.ConfigMap:
			if o.Name == name {
				return took, nil
			}
		}
	}
	return 0, errors.New("the watch ended without what was written")
}
