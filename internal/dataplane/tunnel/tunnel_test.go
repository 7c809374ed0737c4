package tunnel

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tunnel")
	if Kept(dir) {
		t.Error("an empty folder has keys")
	}
	open := func() *Keys {
		k, err := OpenKeys(dir)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := open()
	first := k.Offered()
	if !Kept(dir) || !first.Valid() || PublicKey("geese").Valid() {
		t.Errorf("kept %v, %q valid %v", Kept(dir), first, first.Valid())
	}
	if info, err := os.Stat(filepath.Join(dir, keyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	private := string(k.Private())
	if err := k.Renew(time.Now().Add(-time.Hour)); err != nil || k.Offered() != first {
		t.Errorf("a young key was renewed (%v)", err)
	}
	if err := k.Renew(time.Now().Add(time.Hour)); err != nil || k.Offered() == first {
		t.Fatalf("an old key was not renewed (%v)", err)
	}
	k = open() // another agent
	next := k.Offered()
	if next == first || string(k.Private()) != private {
		t.Error("the next key was lost, or is in use before the Node shows it")
	}
	if err := k.Settle(first); err != nil || string(k.Private()) != private {
		t.Errorf("the key changed though the Node shows the old one (%v)", err)
	}
	if err := k.Settle(next); err != nil || string(k.Private()) == private || k.Offered() != next {
		t.Errorf("the next key is not in use (%v)", err)
	}
	if k = open(); k.Offered() != next || string(k.Private()) == private {
		t.Error("the next key is not in use after a restart")
	}
}

func TestChanges(t *testing.T) {
	k, err := OpenKeys(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	key := func(b byte) PublicKey { return PublicKey(strings.Repeat(string('A'+rune(b)), 42) + "A=") }
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::2")
	want := (&State{Private: k.Private(), Peers: map[PublicKey]netip.Addr{key(1): a, key(2): b, "geese": a}}).config()
	if len(want.peers) != 2 {
		t.Fatalf("%d peers, want 2", len(want.peers))
	}
	text := changes(config{}, want)
	for _, line := range []string{"private_key=" + want.private, "listen_port=7702", "endpoint=192.0.2.1:7702", "allowed_ip=192.0.2.1/32", "endpoint=[2001:db8::2]:7702", "allowed_ip=2001:db8::2/128"} {
		if strings.Count(text, line+"\n") != 1 {
			t.Errorf("%q is not there once:\n%s", line, text)
		}
	}
	// What was told is what is answered; then nothing is to be told.
	have, err := parse(strings.NewReader(text + "last_handshake_time_sec=7\nerrno=0\n\n"))
	if err != nil || changes(have, want) != "" {
		t.Errorf("%v; it is told again:\n%s", err, changes(have, want))
	}
	less := (&State{Private: k.Private(), Peers: map[PublicKey]netip.Addr{key(1): a}}).config()
	if got := changes(want, less); strings.Count(got, "\n") != 2 || !strings.HasSuffix(got, "remove=true\n") {
		t.Errorf("a peer that goes:\n%s", got)
	}
	if _, err := parse(strings.NewReader("errno=98\n\n")); err == nil {
		t.Error("a refusal is no error")
	}
	if _, err := parse(strings.NewReader("private_key=")); err != io.ErrUnexpectedEOF {
		t.Errorf("half an answer: %v", err)
	}
}
