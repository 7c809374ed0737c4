package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"trireme/internal/mesos/resource"
	"trireme/internal/offer"
	"trireme/test/fairness"
)

// offerCycle measures one cycle of the engine that makes 10,000 offers: 10,000 agents, 1,000
// frameworks, all in one role (Mesos' benchmark DeclineOffers). Between two cycles all offers are
// declined for good, so that the next one goes to others.
func offerCycle(context.Context, *config) ([]line, error) {
	const agents, frameworks, rounds = 10_000, 1000, 9
	total, err := resource.Parse("cpus:24;mem:4096;disk:4096;ports:[31000-32000]")
	if err != nil {
		return nil, err
	}
	free, err := resource.Parse("cpus:23;mem:3996;disk:4096;ports:[31001-32000]")
	if err != nil {
		return nil, err
	}
	e := offer.New(offer.Config{})
	for i := range frameworks {
		e.SetFramework(offer.Framework{ID: fmt.Sprintf("f%04d", i), Roles: []string{"*"}})
	}
	for i := range agents {
		e.SetAgent(offer.Agent{Node: fmt.Sprintf("n%05d", i), ID: fmt.Sprintf("S%d", i), Total: total, Free: free})
	}
	var took []float64
	for round := range rounds {
		made := make([]offer.Lent, 0, agents)
		start := time.Now()
		e.Cycle(true, agents, func(m offer.Made) string {
			id := fmt.Sprintf("O%d-%d", round, len(made))
			made = append(made, offer.Lent{ID: id, Framework: m.Framework, Role: m.Role, Node: m.Agent.Node, List: m.List})
			return id
		})
		took = append(took, time.Since(start).Seconds())
		if len(made) != agents {
			return nil, fmt.Errorf("round %d made %d offers, not %d", round, len(made), agents)
		}
		for _, l := range made {
			l.Refused = true
			e.SetLent(l)
		}
	}
	slices.Sort(took)
	return []line{{"offer_cycle_10k_1k_s", took[rounds/2], "s", map[string]any{"agents": agents, "frameworks": frameworks, "rounds": rounds, "least": took[0], "most": took[rounds-1]}}}, nil
}

// drfError measures how far three tenants behind three doors are from a third of the cluster each.
func drfError(ctx context.Context, _ *config) ([]line, error) {
	const seeds = 3
	worst, used := 0.0, 1.0
	shares := []map[string]float64{}
	for seed := range uint64(seeds) {
		r, err := fairness.Run(ctx, fairness.Config{Seed: seed, Seconds: 120})
		if err != nil {
			return nil, err
		}
		worst, used = max(worst, r.Off(fairness.Apps, fairness.Shop, fairness.Jobs)), min(used, r.Used)
		shares = append(shares, r.Shares)
	}
	return []line{{"drf_error_pct", 100 * worst, "%", map[string]any{"seeds": seeds, "seconds": 120, "used": used, "shares": shares}}}, nil
}
