use forecache_core::learn::train::{Evidence, prior};
use forecache_core::trace::Trace;
fn main() {
    let groups: Vec<Vec<&str>> = ["lirs_", "arc_P3,arc_P6,cloudPhysicsIO", "arc_OLTP", "cpu_", "wiki_,adaptsize_req", "scarab", "orm", "web,kosarak_head", "corda"].iter().map(|g| g.split(',').collect()).collect();
    let mut files: Vec<_> = std::fs::read_dir("/work/shared/traces").unwrap().map(|f| f.unwrap().path()).filter(|f| f.extension().is_some_and(|e| e == "zst")).collect();
    files.sort();
    let mut all = vec![];
    for f in files {
        let trace = Trace::open(&f, None).unwrap();
        let sizes: Vec<usize> = std::env::var("FRACTIONS").unwrap_or("0.001,0.003,0.01,0.03,0.1".into()).split(',').map(|x| (x.parse::<f64>().unwrap() * trace.unique() as f64) as usize).collect();
        let name = f.file_name().unwrap().to_string_lossy().to_string();
        if let Some(e) = Evidence::of(&trace, &sizes) { all.push((name, e)) }
    }
    let out = std::env::args().nth(1).unwrap();
    std::fs::write(format!("{out}/all.fcp"), prior(all.iter().map(|x| &x.1)).write()).unwrap();
    for (i, g) in groups.iter().enumerate() {
        let p = prior(all.iter().filter(|x| !g.iter().any(|g| x.0.starts_with(g))).map(|x| &x.1));
        std::fs::write(format!("{out}/{i}.fcp"), p.write()).unwrap();
    }
}
