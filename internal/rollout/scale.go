package rollout

import (
	"cmp"
	"slices"
)

// Scale shares a change of the wanted number of pods out over the groups in the
// midst of a rollout, so that each keeps its part (Kubernetes, "Deployment",
// proportional scaling). was holds, for each group, the most pods that all
// groups together might have had when it was sized (desired plus surge); 0: not
// known. It returns the sizes in the groups' order.
func Scale(p Policy, groups []Group, was []int) []int {
	sizes := make([]int, len(groups))
	total, active := 0, 0
	for i, g := range groups {
		sizes[i] = g.Size
		total += g.Size
		if g.Size > 0 {
			active++
		}
	}
	if active == 0 {
		return sizes
	}
	most := 0
	if p.Desired > 0 {
		most = p.Desired + p.Surge
	}
	if active == 1 {
		return scaleOne(p, groups, sizes)
	}
	left := most - total
	order := byShare(groups, left > 0)
	for _, i := range order {
		if left == 0 || sizes[i] == 0 {
			continue
		}
		n := part(groups[i].Size, most, was[i], total)
		if left > 0 {
			n = min(max(n, 0), left)
		} else {
			n = max(min(n, 0), left)
		}
		sizes[i] += n
		left -= n
	}
	if first := order[0]; left != 0 { // what rounding left over
		sizes[first] = max(sizes[first]+left, 0)
	}
	return sizes
}

// scaleOne gives the only group that has pods the whole number.
func scaleOne(p Policy, groups []Group, sizes []int) []int {
	for i, g := range groups {
		if g.Size > 0 {
			sizes[i] = p.Desired
		}
	}
	return sizes
}

// part returns by how much a group of the given size is to change, rounded to
// the nearest.
func part(size, most, was, total int) int {
	if was == 0 {
		was = total
	}
	return (2*size*most+was)/(2*was) - size
}

// byShare returns the groups' indexes, the largest first; of equals the newest
// first when growing and the oldest first when shrinking.
func byShare(groups []Group, growing bool) []int {
	order := make([]int, len(groups))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if c := cmp.Compare(groups[b].Size, groups[a].Size); c != 0 {
			return c
		}
		if growing {
			return cmp.Compare(b, a)
		}
		return cmp.Compare(a, b)
	})
	return order
}
