package lvm

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
)

// Bounds of a group.
const (
	maxVolumes  = 1 << 16
	maxSegments = 1 << 16 // of a volume
	maxStripes  = 128     // LVM's own
)

// group is a volume group, as its text describes it.
type group struct {
	name    string
	seqno   int64
	extent  int64 // size in bytes
	pvs     *section
	lvs     *section
	problem string // why none of its volumes can be read
}

// parseGroup reads the text of a metadata area (lib/format_text/import_vsn1.c).
func parseGroup(text []byte) (*group, error) {
	top, err := parseText(text)
	if err != nil {
		return nil, err
	}
	if c := top.text("contents"); c != "Text Format Volume Group" {
		return nil, fmt.Errorf("metadata: the contents are %.60q", c)
	}
	if v, _ := top.number("version"); v != 1 {
		return nil, fmt.Errorf("metadata: version %d is not known", v)
	}
	g := &group{}
	for _, name := range top.names {
		vg, ok := top.section(name)
		if !ok {
			continue
		}
		if g.name != "" {
			return nil, errors.New("metadata: there are two volume groups")
		}
		g.name = name
		g.seqno, _ = vg.number("seqno")
		sectors, _ := vg.number("extent_size")
		if sectors <= 0 || sectors > 1<<32 {
			return nil, fmt.Errorf("metadata: volume group %s has extents of %d sectors", name, sectors)
		}
		g.extent = sectors * sector
		if g.pvs, ok = vg.section("physical_volumes"); !ok {
			return nil, fmt.Errorf("metadata: volume group %s has no physical volumes", name)
		}
		if g.lvs, ok = vg.section("logical_volumes"); !ok {
			g.lvs = &section{} // there are none yet
		}
		if f := vg.text("format"); f != "" && f != "lvm2" {
			g.problem = fmt.Sprintf("the volume group is of the format %q", f)
		}
	}
	if g.name == "" {
		return nil, errors.New("metadata: there is no volume group")
	}
	if len(g.lvs.names) > maxVolumes {
		return nil, fmt.Errorf("metadata: volume group %s has more than %d volumes", g.name, maxVolumes)
	}
	return g, nil
}

// formatUUID writes a UUID as LVM does (id_write_format).
func formatUUID(id string) string {
	if len(id) != idLength {
		return id
	}
	var b strings.Builder
	at := 0
	for i, n := range []int{6, 4, 4, 4, 4, 4, 6} {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(id[at : at+n])
		at += n
	}
	return b.String()
}

// volumes gives the group's volumes, as far as they lie on src, which is the physical volume of that UUID.
func (g *group) volumes(src image.Source, uuid string) ([]Volume, error) {
	here, start := "", int64(0)
	for _, name := range g.pvs.names {
		pv, ok := g.pvs.section(name)
		if ok && strings.ReplaceAll(pv.text("id"), "-", "") == uuid {
			n, ok := pv.number("pe_start")
			if !ok || n < 0 || n > math.MaxInt64/sector {
				return nil, fmt.Errorf("metadata: physical volume %s has its extents at %d", name, n)
			}
			here, start = name, n*sector
		}
	}
	if here == "" {
		return nil, fmt.Errorf("metadata: volume group %s has no physical volume %s, which this is", g.name, formatUUID(uuid))
	}
	m := mapper{group: g, src: src, pv: here, start: start, shadows: g.shadows()}
	var volumes []Volume
	for _, name := range g.lvs.names {
		lv, ok := g.lvs.section(name)
		if !ok || !lv.has("status", "VISIBLE") {
			continue
		}
		v := Volume{Group: g.name, Name: name, UUID: lv.text("id")}
		if s, ok := lv.section("segment1"); ok && s.text("type") == "snapshot" {
			// People know a snapshot by its store of changed blocks, which is hidden, as it is of no use alone.
			if store, ok := g.lvs.section(s.text("cow_store")); ok {
				v.Name, v.UUID = s.text("cow_store"), store.text("id")
			}
			m.shadows[name] = m.shadows[v.Name]
		}
		view, err := m.volume(name, lv, &v.Size)
		switch {
		case g.problem != "":
			v.Reason = g.problem
		case err != nil:
			v.Reason = err.Error()
			var other *elsewhereError
			if errors.As(err, &other) {
				v.Missing = other.uuid
			}
		default:
			v.Source = view
		}
		volumes = append(volumes, v)
	}
	return volumes, nil
}

// shadows names volumes whose segments are not their content: those of a snapshot's store are the blocks that changed since. So it is with the
// origin that a snapshot is being merged into.
func (g *group) shadows() map[string]string {
	shadows := map[string]string{}
	for _, name := range g.lvs.names {
		lv, ok := g.lvs.section(name)
		if !ok {
			continue
		}
		for _, part := range lv.names {
			s, ok := lv.section(part)
			if !ok || s.text("type") != "snapshot" {
				continue
			}
			if cow := s.text("cow_store"); cow != "" {
				shadows[cow] = fmt.Sprintf("it is a snapshot of %s", s.text("origin"))
			}
			if cow := s.text("merging_store"); cow != "" {
				shadows[cow] = fmt.Sprintf("it is a snapshot that is being merged into %s", s.text("origin"))
				shadows[s.text("origin")] = fmt.Sprintf("the snapshot %s is being merged into it", cow)
			}
		}
	}
	return shadows
}

// mapper makes views of volumes.
type mapper struct {
	group   *group
	src     image.Source
	pv      string // name of src in the metadata
	start   int64  // of the first extent, in bytes
	shadows map[string]string
}

// volume makes the view of a volume. size is set as far as the metadata tells it.
func (m *mapper) volume(name string, lv *section, size *int64) (*view, error) {
	count, _ := lv.number("segment_count")
	if count <= 0 || count > maxSegments {
		return nil, fmt.Errorf("its metadata is damaged: it has %d segments", count)
	}
	segments := make([]*section, count)
	next := int64(0)
	for i := range segments {
		s, ok := lv.section(fmt.Sprintf("segment%d", i+1))
		if !ok {
			return nil, fmt.Errorf("its metadata is damaged: segment %d of %d is missing", i+1, count)
		}
		first, ok := s.number("start_extent")
		extents, _ := s.number("extent_count")
		if !ok || first != next || extents <= 0 || extents > math.MaxInt64/m.group.extent-next {
			return nil, fmt.Errorf("its metadata is damaged: segment %d is %d extents from extent %d on, after %d", i+1, extents, first, next)
		}
		next += extents
		segments[i] = s
	}
	*size = next * m.group.extent
	if why := m.shadows[name]; why != "" {
		return nil, errors.New(why)
	}
	v := &view{src: m.src, size: *size}
	for i, s := range segments {
		if err := m.segment(v, s); err != nil {
			if count > 1 {
				err = fmt.Errorf("segment %d: %w", i+1, err)
			}
			return nil, err
		}
	}
	return v, nil
}

// segment adds a segment to a view.
func (m *mapper) segment(v *view, s *section) error {
	kind := s.text("type")
	if kind != "striped" && kind != "linear" {
		return fmt.Errorf("segments of the type %.20q are not read", kind)
	}
	first, _ := s.number("start_extent")
	extents, _ := s.number("extent_count")
	count, _ := s.number("stripe_count")
	stripes := s.list("stripes")
	if count <= 0 || count > maxStripes || len(stripes) != int(2*count) {
		return fmt.Errorf("its metadata is damaged: %d stripes, and %d values for them", count, len(stripes))
	}
	if extents%count != 0 {
		return fmt.Errorf("its metadata is damaged: %d extents on %d stripes", extents, count)
	}
	p := part{at: first * m.group.extent, size: extents * m.group.extent}
	if count > 1 {
		sectors, _ := s.number("stripe_size")
		if sectors <= 0 || sectors > m.group.extent/sector || m.group.extent/sector%sectors != 0 {
			return fmt.Errorf("its metadata is damaged: stripes of %d sectors in extents of %d", sectors, m.group.extent/sector)
		}
		p.stripe = sectors * sector
	}
	for i := range int(count) {
		name, _ := stripes[2*i].(string)
		extent, ok := stripes[2*i+1].(int64)
		if name != m.pv {
			return m.elsewhere(name)
		}
		length := p.size / count
		if !ok || extent < 0 || m.start > v.src.Size() || extent > (v.src.Size()-m.start)/m.group.extent ||
			length > v.src.Size()-m.start-extent*m.group.extent {
			return fmt.Errorf("it reaches beyond the end of the physical volume (%d bytes), to extent %d", v.src.Size(), extent)
		}
		p.places = append(p.places, m.start+extent*m.group.extent)
	}
	v.parts = append(v.parts, p)
	return nil
}

// elsewhereError says that a stripe lies on another physical volume.
type elsewhereError struct{ name, uuid string }

func (e *elsewhereError) Error() string {
	return fmt.Sprintf("a part of it lies on another physical volume (%s, UUID %s)", e.name, e.uuid)
}

// elsewhere says why a stripe cannot be read.
func (m *mapper) elsewhere(name string) error {
	if pv, ok := m.group.pvs.section(name); ok {
		return &elsewhereError{name, pv.text("id")}
	}
	if _, ok := m.group.lvs.section(name); ok {
		return fmt.Errorf("it lies on another logical volume (%s)", name)
	}
	return fmt.Errorf("its metadata is damaged: there is no physical volume %.60q", name)
}
