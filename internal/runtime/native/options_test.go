package native

import "testing"

// TestStopSignal: signals are known by names, with and without SIG, and numbers.
func TestStopSignal(t *testing.T) {
	for name, want := range map[string]int{
		"": 15, "2": 2, "INT": 2, "sigusr1": 10, "SIGRTMIN": 34, "SIGRTMIN+3": 37, "SIGRTMAX-2": 62, "SIGRTMAX": 64,
		"65": 0, "NOPE": 0, "SIGRTMIN-1": 0, "SIGRTMAX+1": 0, "SIGRTMINx": 0,
	} {
		if got, err := stopSignal(name); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q is %d, %v; want %d", name, got, err, want)
		}
	}
}
