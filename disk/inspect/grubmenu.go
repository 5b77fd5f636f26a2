package inspect

import (
	"strconv"
	"strings"
)

// grubPlace is where an entry or submenu of GRUB stands in its menu. It can be chosen by each of these.
type grubPlace struct{ number, title, id string }

// grubMenus follows the menus in a grub.cfg: entries and submenus are counted together, each menu for itself (GRUB manual, section 16.1.4).
type grubMenus struct {
	open []grubMenu // the innermost last
}

type grubMenu struct {
	depth int // of the block that it is in
	count int
	place grubPlace
}

// add counts an entry or a submenu in the innermost menu, and tells its way from the first one.
func (g *grubMenus) add(title, id string) []grubPlace {
	if len(g.open) == 0 {
		g.open = []grubMenu{{depth: -1}}
	}
	var way []grubPlace
	for _, m := range g.open[1:] {
		way = append(way, m.place)
	}
	menu := &g.open[len(g.open)-1]
	way = append(way, grubPlace{strconv.Itoa(menu.count), title, id})
	menu.count++
	return way
}

// enter goes on in a submenu that begins at a depth of blocks, leave ends those that a block at that depth was.
func (g *grubMenus) enter(depth int, place grubPlace) {
	if len(g.open) < 16 {
		g.open = append(g.open, grubMenu{depth: depth, place: place})
	}
}

func (g *grubMenus) leave(depth int) {
	for len(g.open) > 1 && g.open[len(g.open)-1].depth >= depth {
		g.open = g.open[:len(g.open)-1]
	}
}

// leads tells whether a default such as "1>2" or "id>title" leads to an entry, or to a submenu that it is in. In titles ">>" stands for ">".
func leads(want string, way []grubPlace) bool {
	names := strings.Split(strings.ReplaceAll(want, ">>", "\x00"), ">")
	if len(names) > len(way) {
		return false
	}
	for i, name := range names {
		name = strings.ReplaceAll(name, "\x00", ">")
		if p := way[i]; name != p.number && name != p.title && (name != p.id || p.id == "") {
			return false
		}
	}
	return true
}
