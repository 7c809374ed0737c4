package managers

import (
	"strings"
	"testing"

	"trireme/internal/object/manager"
)

func TestRisk(t *testing.T) {
	const away = " away"
	of := func(states ...string) (all []manager.Manager) {
		for i, s := range states {
			m := manager.Manager{Status: manager.Status{State: strings.TrimSuffix(s, away), Unreachable: strings.HasSuffix(s, away)}}
			m.Name = string(rune('a' + i))
			all = append(all, m)
		}
		return all
	}
	for _, c := range []struct {
		all  []manager.Manager
		name string
		risk bool
	}{
		{of(manager.Leader), "a", true},
		{of(manager.Leader, manager.Learner), "a", true},
		{of(manager.Leader, manager.Learner), "b", false},
		{of(manager.Leader, manager.Follower), "b", false}, // one alone is safer than two
		{of(manager.Leader, manager.Follower, manager.Follower), "a", true},
		{of(manager.Leader, manager.Follower, manager.Follower, manager.Follower), "a", false}, // one of three may fail, as of four
		{of(manager.Leader, manager.Follower, manager.Follower+away), "c", false},              // it is lost already
		{of(manager.Leader, manager.Follower, manager.Follower+away), "b", true},
		{of(manager.Leader, manager.Follower, manager.Follower, manager.Follower, manager.Follower), "e", false},
	} {
		if got := risk(c.all, c.name); (got != "") != c.risk {
			t.Errorf("%d managers without %s: %q", len(c.all), c.name, got)
		}
	}
}
