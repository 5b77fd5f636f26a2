package layer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"testing"
	"time"
)

// BenchmarkFind finds a chain of ten among 500 layers, whose steps and reads are as many as those of real components.
func BenchmarkFind(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	var want []string
	for tree := range 50 {
		var c *Chain
		var all []string
		for depth := range 10 {
			p := spec{root: Root{Disk: "disk" + strconv.Itoa(tree), Machine: "machine"}}
			for n := range min(depth, 1) * 5 {
				p.steps = append(p.steps, s.Sum("step", strconv.Itoa(tree), strconv.Itoa(depth), strconv.Itoa(n)))
			}
			for n := range min(depth, 1) * 2 {
				p.reads = append(p.reads, Read{"object", fmt.Sprintf("s3://bucket/some/key/%d/%d", depth, n), s.Sum("x")})
			}
			all = append(all, p.steps...)
			next, err := save(ctx, s, c, p)
			if err != nil {
				b.Fatal(err)
			}
			c.Close()
			c = next
		}
		c.Close()
		want = all
	}
	check := func(context.Context, []Read) (bool, error) { return true, nil }
	b.ResetTimer()
	for b.Loop() {
		c, err := s.Find(ctx, Query{Root: Root{Disk: "disk49", Machine: "machine"}, Steps: want, Until: -1, MaxAge: time.Hour, Check: check})
		if err != nil || c == nil || c.Last().Depth != 9 {
			b.Fatal(c, err)
		}
		c.Close()
	}
}

// BenchmarkMemory writes and reads 256 MiB, plain and compressed.
func BenchmarkMemory(b *testing.B) {
	data := content(8 << 20)
	for _, compress := range []bool{false, true} {
		s, err := Open(b.TempDir(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		var c *Chain
		b.Run(fmt.Sprintf("write/%v", compress), func(b *testing.B) {
			b.SetBytes(256 << 20)
			for b.Loop() {
				d, err := s.Begin(b.Context(), nil, 0)
				if err != nil {
					b.Fatal(err)
				}
				if compress {
					d.price = price{used: 1, budget: 1, saves: time.Hour, bytes: 1}
				}
				m, err := d.Memory()
				if err != nil {
					b.Fatal(err)
				}
				for range 32 {
					if _, err := io.Copy(m, bytes.NewReader(data)); err != nil {
						b.Fatal(err)
					}
				}
				if err := m.Close(); err != nil {
					b.Fatal(err)
				}
				d.Abort()
			}
		})
		c, err = save(b.Context(), s, nil, spec{memory: 256 << 20, compress: compress})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("read/%v", compress), func(b *testing.B) {
			b.SetBytes(256 << 20)
			for b.Loop() {
				r, err := c.OpenMemory()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
		})
	}
}
