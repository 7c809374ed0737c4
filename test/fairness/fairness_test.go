package fairness

import "testing"

// TestThreeDoorsShareEvenly: within 2 % of a third each, and the cluster is full.
func TestThreeDoorsShareEvenly(t *testing.T) {
	r, err := Run(t.Context(), Config{Seed: 1, Seconds: 50})
	if err != nil {
		t.Fatal(err)
	}
	if off := r.Off(Apps, Shop, Jobs); off > 0.02 {
		t.Errorf("shares %v are off by %.1f %%", r.Shares, 100*off)
	}
	if r.Used < 0.97 {
		t.Errorf("%.1f %% of the cluster is used", 100*r.Used)
	}
}

// TestThreeDoorsShareByWeight: within 2 % of a sixth, a third and a half, whichever door weighs most.
func TestThreeDoorsShareByWeight(t *testing.T) {
	for i, w := range []map[string]float64{{Apps: 1, Shop: 2, Jobs: 3}, {Jobs: 1, Apps: 2, Shop: 3}} {
		r, err := Run(t.Context(), Config{Seed: uint64(i), Seconds: 20, Nodes: 30, Weights: w})
		if err != nil {
			t.Fatal(err)
		}
		if off := r.Off(Apps, Shop, Jobs); off > 0.02 || r.Used < 0.97 {
			t.Errorf("weights %v: shares %v are off by %.1f %%, %.1f %% of the cluster is used", w, r.Shares, 100*off, 100*r.Used)
		}
	}
}

// TestWhoHoardsHarmsNobody: a framework that never answers keeps no room from pods that wait.
func TestWhoHoardsHarmsNobody(t *testing.T) {
	r, err := Run(t.Context(), Config{Seed: 2, Seconds: 30, Hoards: true})
	if err != nil {
		t.Fatal(err)
	}
	if off := r.Off(Apps, Shop); off > 0.02 || r.Used < 0.97 {
		t.Errorf("%.1f %% of the cluster is used, shares %v", 100*r.Used, r.Shares)
	}
}
