package redistest

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Proxy is a TCP proxy on loopback between clients and a redis-server. It can be slow, hang,
// or be unreachable while the redis-server runs on. It is safe for concurrent use.
type Proxy struct {
	target string
	listen net.Listener
	all    sync.WaitGroup // the goroutines

	mu          sync.Mutex
	conns       map[net.Conn]struct{} // of both sides
	least, most time.Duration
	flow        chan struct{} // closed while bytes flow
	cut         bool
	closed      chan struct{}
}

// NewProxy listens on a free loopback port for connections to target, which is host:port.
// The caller closes it.
func NewProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, listen: l, conns: map[net.Conn]struct{}{}, flow: make(chan struct{}), closed: make(chan struct{})}
	close(p.flow)
	p.all.Go(p.accept)
	return p, nil
}

// Addr returns host:port of the proxy.
func (p *Proxy) Addr() string { return p.listen.Addr().String() }

// URL returns the address for a configuration.
func (p *Proxy) URL() string { return "redis://" + p.Addr() + "/0" }

// Delay delays every chunk of bytes, in either direction, by a random time between least and
// most. A round trip is delayed twice. 0, 0 ends it.
func (p *Proxy) Delay(least, most time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.least, p.most = least, max(least, most)
}

// Pause blocks all bytes until Resume, like a frozen process: connections stay open and new
// ones are accepted. The end of a connection is blocked, too.
func (p *Proxy) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flowing() {
		p.flow = make(chan struct{})
	}
}

// Cut closes all connections, and every new one at once, until Resume.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	p.drop()
}

// Resume ends Pause and Cut. Blocked bytes are sent.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
	if !p.flowing() {
		close(p.flow)
	}
}

// Close stops the proxy and closes its connections. It may be called again.
func (p *Proxy) Close() {
	p.mu.Lock()
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	p.drop()
	p.mu.Unlock()
	_ = p.listen.Close()
	p.all.Wait()
}

// flowing reports whether bytes are not blocked. p.mu is held.
func (p *Proxy) flowing() bool {
	select {
	case <-p.flow:
		return true
	default:
		return false
	}
}

// drop closes every connection. p.mu is held.
func (p *Proxy) drop() {
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *Proxy) accept() {
	for {
		c, err := p.listen.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && p.keep(c) {
			p.all.Go(func() { p.connect(c) })
		}
	}
}

// keep registers a connection, or closes it and returns false after Cut or Close.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.closed:
	default:
		if !p.cut {
			p.conns[c] = struct{}{}
			return true
		}
	}
	_ = c.Close()
	return false
}

// connect serves a client until either side closes.
func (p *Proxy) connect(client net.Conn) {
	defer p.forget(client)
	server, err := net.DialTimeout("tcp", p.target, 10*time.Second)
	if err != nil {
		p.pass() // a paused proxy must not reveal that target is unreachable
		return
	}
	if !p.keep(server) {
		return
	}
	defer p.forget(server)
	var back sync.WaitGroup
	back.Go(func() { p.copy(client, server) })
	p.copy(server, client)
	back.Wait()
}

func (p *Proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close()
}

// copy copies chunks until a connection ends, then closes both.
func (p *Proxy) copy(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !p.pass() {
			return
		}
		if n > 0 {
			if _, failed := to.Write(buf[:n]); failed != nil {
				err = failed
			}
		}
		if err != nil {
			p.forget(to)
			p.forget(from)
			return
		}
	}
}

// pass waits until a chunk may pass; false: the proxy is closed.
func (p *Proxy) pass() bool {
	p.mu.Lock()
	least, most := p.least, p.most
	p.mu.Unlock()
	if most > 0 {
		select {
		case <-time.After(least + rand.N(most-least+1)):
		case <-p.closed:
			return false
		}
	}
	for {
		p.mu.Lock()
		flow := p.flow
		flowing := p.flowing()
		p.mu.Unlock()
		if flowing {
			return true
		}
		select {
		case <-flow:
		case <-p.closed:
			return false
		}
	}
}
