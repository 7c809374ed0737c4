package room

import "math"

// Spot is what most looks at a room need to know of it, small enough for a cache line: it decides, for most nodes of most
// looks, that the node is too full or another better.
type Spot struct {
	CPU, Memory       int64   // that are free; less than none where more is taken than there is
	cpuUsed, memUsed  float64 // parts of what there is
	perCPU, perMemory float64 // what one unit of a demand is of it
	podsLeft          float32 // part that is left with one pod more
	Pods              int32   // that are free
}

// Spot returns the room's spot.
func (r *Room) Spot() (s Spot) {
	s.CPU, s.Memory = r.Can.CPUMilli-r.Used.CPUMilli, r.Can.MemoryBytes-r.Used.MemoryBytes
	s.cpuUsed, s.perCPU = parts(r.Used.CPUMilli, r.Can.CPUMilli)
	s.memUsed, s.perMemory = parts(r.Used.MemoryBytes, r.Can.MemoryBytes)
	s.Pods = int32(max(math.MinInt32, min(math.MaxInt32, r.CanPods-r.Pods)))
	used, per := parts(r.Pods, r.CanPods)
	s.podsLeft = float32(max(0, 1-(used+per)))
	return s
}

// parts returns which part is used, and which one more of it is. Of nothing all is used.
func parts(used, can int64) (part, per float64) {
	if can <= 0 {
		return 1, 0
	}
	return float64(used) / float64(can), 1 / float64(can)
}

// Left returns how much is left of cpu, memory and pods with one pod more that asks for as much, three times the part. The
// conversions keep the compiler from adding in another way here than there.
func (s *Spot) Left(cpu, memory float64) float64 {
	return max(0, 1-(s.cpuUsed+float64(cpu*s.perCPU))) + max(0, 1-(s.memUsed+float64(memory*s.perMemory))) + float64(s.podsLeft)
}
