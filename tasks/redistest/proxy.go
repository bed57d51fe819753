package redistest

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Proxy stands on loopback between clients and a redis-server, and makes of it
// one that is slow, hangs, or is gone, while redis-server itself goes on. Its
// methods may be called at any time, from any goroutine.
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

// NewProxy listens on a free port of loopback for connections to target,
// which is host:port. The caller has to Close it.
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

// Addr is host:port of the proxy.
func (p *Proxy) Addr() string { return p.listen.Addr().String() }

// URL is for configurations.
func (p *Proxy) URL() string { return "redis://" + p.Addr() + "/0" }

// Delay makes every chunk of bytes, in either direction, wait for a time drawn
// between least and most from now on. A round trip waits twice. 0, 0 ends it.
func (p *Proxy) Delay(least, most time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.least, p.most = least, max(least, most)
}

// Pause lets no byte through until Resume. Connections stay, and new ones are
// accepted, as those to a frozen process are; the end of a connection does not
// get through either.
func (p *Proxy) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flowing() {
		p.flow = make(chan struct{})
	}
}

// Cut closes every connection, and each new one at once, until Resume.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	p.drop()
}

// Resume ends Pause and Cut. What was held back by Pause gets through.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
	if !p.flowing() {
		close(p.flow)
	}
}

// Close ends the proxy and all of its connections. It may be called again.
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

// flowing says whether bytes get through. p.mu is held.
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

// keep notes a connection; one that may not be is closed.
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
		p.pass() // a paused proxy does not say that nobody is there
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

// copy passes chunks on until the connection ends, and then ends both.
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

// pass waits as long as a chunk has to. False: the proxy is closed.
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
