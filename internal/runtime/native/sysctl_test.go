package native

import "testing"

func TestSysctl(t *testing.T) {
	for _, tt := range []struct{ name, path, space string }{
		{"net.core.somaxconn", "net/core/somaxconn", "net"},
		{"net/core/somaxconn", "net/core/somaxconn", "net"},
		{"net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding", "net"},
		{"net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding", "net"},
		{"kernel.shm_rmid_forced", "kernel/shm_rmid_forced", "ipc"},
		{"kernel.sem", "kernel/sem", "ipc"},
		{"fs.mqueue.msg_max", "fs/mqueue/msg_max", "ipc"},
		{"vm.swappiness", "vm/swappiness", ""},
		{"kernel.hostname", "kernel/hostname", ""},
		{"net/../vm/swappiness", "net/../vm/swappiness", ""},
		{"../net/core/somaxconn", "//.net.core.somaxconn", ""},
		{"/net/core", "/net/core", ""},
		{"", "", ""},
	} {
		if path, space := sysctl(tt.name); path != tt.path || space != tt.space {
			t.Errorf("%q is %q of %q, want %q of %q", tt.name, path, space, tt.path, tt.space)
		}
	}
}
