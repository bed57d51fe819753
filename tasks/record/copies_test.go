package record

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConnectedReplicas(t *testing.T) {
	t.Parallel()
	for info, want := range map[string]int{
		"": 0,
		"# Replication\r\nrole:master\r\nconnected_slaves:0\r\n": 0,
		"role:master\r\nconnected_slaves:2\r\n":                  2, // a server that lists none
		"role:master\r\nconnected_slaves:2\r\nslave0:ip=::1,port=1,state=online,offset=1,lag=0\r\nslave1:ip=::1,port=2,state=online,offset=0,lag=1\r\n": 2,
		"role:master\r\nconnected_slaves:2\r\nslave0:ip=::1,port=1,state=wait_bgsave,offset=0,lag=0\r\nslave1:ip=::1,port=2,state=online\r\n":           1,
		"role:master\r\nconnected_slaves:1\r\nslave0:ip=::1,port=1,state=send_bulk,offset=0,lag=0\r\n":                                                  0, // it loads its first copy
	} {
		require.Equal(t, want, connectedReplicas(info), info)
	}
}

// Only who may not wait is not marked; what breaks off proves nothing.
func TestRefusedWait(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Copies{
		"NOPERM this user has no permissions to run the 'wait' command":           NoReplicas,
		"ERR unknown command 'WAIT', with args beginning with: '1'":               NoReplicas,
		"UNBLOCKED force unblock from blocking operation, instance state changed": Unacknowledged,
		"ERR WAIT cannot be used with replica instances.":                         Unacknowledged,
		"OOM command not allowed when used memory > 'maxmemory'.":                 Unacknowledged,
		"READONLY You can't write against a read only replica.":                   Unacknowledged,
		"i/o timeout": Unacknowledged, "EOF": Unacknowledged, "MOVED 1 127.0.0.1:1": Unacknowledged,
	} {
		p := newReplicas(nil, Config{}).of("")
		require.Equal(t, want, p.refused(errors.New(text)), text)
		require.Equal(t, want == NoReplicas, p.mute, text)
	}
}

// A replica that is not connected any more may take over for a while.
func TestReplicasThatAreGone(t *testing.T) {
	t.Parallel()
	p := newReplicas(nil, Config{}).of("")
	p.know(0)
	require.Equal(t, NoReplicas, p.lacking(), "there never was one")
	p.know(2)
	p.know(0)
	require.Equal(t, Unacknowledged, p.lacking())
	p.lonely = time.Now().Add(-DefaultReplicaReturns - time.Second)
	p.know(0)
	require.Equal(t, ReplicasGone, p.lacking())
	p.know(1)
	p.know(0)
	require.Equal(t, Unacknowledged, p.lacking())
	other := p.all.of("another server, which has taken over")
	other.know(0)
	require.Equal(t, Unacknowledged, other.lacking())
}

func TestMarksAreInTheSlotOfTheirKeys(t *testing.T) {
	t.Parallel()
	k := keys{"x"}
	require.Equal(t, "x:{id}:mark", k.mark(k.op("id")))
	require.Equal(t, "x:{p:hq}:mark", k.mark(k.claims("hq")))
	require.Equal(t, "x:{x:ops}:mark", k.mark(k.operations()))
}
