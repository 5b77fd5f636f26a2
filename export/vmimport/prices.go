package vmimport

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

// pricesJSON is dated data with its source: AWS changes it, and no API tells it without rights of another kind.
//
//go:embed prices.json
var pricesJSON []byte

type prices struct {
	Date                    string             `json:"date"`
	Source                  string             `json:"source"`
	USDPerGiBMonth          map[string]float64 `json:"usdPerGiBMonth"` // by region, those that are known
	USDPerGiBMonthElsewhere float64            `json:"usdPerGiBMonthElsewhere"`
}

func readPrices() prices {
	var p prices
	if err := json.Unmarshal(pricesJSON, &p); err != nil {
		panic(err) // the program's own file, which a test reads
	}
	return p
}

// snapshotPrice says what a full snapshot costs at most; only written blocks count.
func (p prices) snapshotPrice(region string, gib int64) string {
	perGiB, known := p.USDPerGiBMonth[region]
	about := ""
	if !known {
		perGiB, about = p.USDPerGiBMonthElsewhere, "about "
	}
	return fmt.Sprintf("a snapshot of %d GiB costs at most %s%.2f USD a month (list price of %s)", gib, about, perGiB*float64(gib), p.Date)
}
