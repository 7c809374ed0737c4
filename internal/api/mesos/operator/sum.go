package operator

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	mesosres "trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
)

// sum adds up resources of many tasks. Most are plain scalars, which are counted by
// name and role; a list is made of them at the end.
type sum struct {
	scalars map[of]int64
	rest    mesosres.List
}

// of is a scalar that is not reserved.
type of struct{ name, role string }

func (s *sum) add(role string, all []*mesosv1.Resource) {
	for i, r := range all {
		n, ok := plainScalar(r)
		if !ok {
			s.rest = s.rest.Plus(listOf(role, all[i:i+1]))
			continue
		}
		if s.scalars == nil {
			s.scalars = map[of]int64{}
		}
		s.scalars[of{r.GetName(), role}] += n
	}
}

// plainScalar returns thousandths where the resource is nothing but an amount.
func plainScalar(r *mesosv1.Resource) (int64, bool) {
	if r.GetType() != mesosv1.Value_SCALAR || r.Disk != nil || r.Reservation != nil || len(r.Reservations) > 0 || r.Revocable != nil || r.Shared != nil || r.ProviderId != nil || r.GetRole() != "*" {
		return 0, false
	}
	n, err := mesosres.Thousandths(r.GetScalar().GetValue())
	return n, err == nil
}

// list returns the sum; the sum is not used any more.
func (s *sum) list() mesosres.List {
	l := s.rest
	for one, n := range s.scalars {
		r := mesosres.Of(one.name, n)
		r.Allocated = one.role
		l = l.Plus(mesosres.List{r})
	}
	return l
}

// flatJSON is what flat makes of the resources of one task, as text.
func flatJSON(all []*mesosv1.Resource) json.RawMessage {
	if slices.ContainsFunc(all, func(r *mesosv1.Resource) bool { _, ok := plainScalar(r); return !ok }) {
		b, err := json.Marshal(flat(listOf("", all)))
		if err != nil {
			panic("operator: resources that are no JSON: " + err.Error()) // of maps, numbers and strings
		}
		return b
	}
	amounts := map[string]float64{mesosres.CPUs: 0, mesosres.GPUs: 0, mesosres.Mem: 0, mesosres.Disk: 0}
	for _, r := range all {
		amounts[r.GetName()] += r.GetScalar().GetValue()
	}
	out := append(make([]byte, 0, 64), '{')
	for i, name := range slices.Sorted(maps.Keys(amounts)) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendKey(out, name), ':')
		out = strconv.AppendFloat(out, amounts[name], 'f', -1, 64)
	}
	return append(out, '}')
}

// appendKey appends a name as a JSON string.
func appendKey(to []byte, name string) []byte {
	if !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return append(append(append(to, '"'), name...), '"')
	}
	b, _ := json.Marshal(name) // of a string it never fails
	return append(to, b...)
}
