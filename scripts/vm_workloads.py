"""What the recorded virtual machines do."""

REBOOT = ("reboot", "systemctl reboot")

# Small tasks in random order, the first ones far more often than the last.
DEVELOP = r"""
    for task in $(awk 'BEGIN {{ srand({seed}); for (i = 0; i < {tasks}; i++) print int(rand() * rand() * 10) }}'); do
        case $task in
            0) echo "/* {seed} */" >>zlib/inflate.c; make -C zlib libz.a minigzip;;
            1) git add -u; git commit -qm "work" || true; git status; git log -p -3 | tail -3;;
            2) python3 -c 'import docutils.core, docutils.writers.html5_polyglot, unittest, asyncio, sqlite3';;
            3) echo "/* {seed} */" >>lua/src/lvm.c; make -C lua linux;;
            4) man gcc | wc; man 2 open | wc; man -k file | wc;;
            5) grep -rl "buffer" include lua zlib | wc;;
            6) apt-cache search editor | wc; apt-get -s install emacs-nox | wc;;
            7) dpkg -V gcc-12 libc6-dev perl-base || true;;
            8) find /usr -type f -newer /etc/hostname | sort | wc;;
            9) tar cf /var/backups/work.tar lua zlib; git gc -q;;
        esac
    done"""
LOOK_UP = """select count(o.amount), sum(c.balance) from (select hot(200000) id from generate_series(1, 1000)) k
                    join customer c using (id) join orders o on o.customer = c.id;"""
# A workload: the packages installed in the image; packages and sources that are only
# downloaded into it, as the guest has no network; and the steps, each a name and a
# script which `sh -e` runs in the guest's /root.
WORKLOADS = {
    "packages": {
        "installed": ["git", "vim", "man-db", "manpages-dev"],
        "sources": ["lua5.4", "zlib"],
        "downloaded": ["gcc", "make", "libc6-dev", "bzip2", "xz-utils", "python3-docutils"],
        "steps": [
            ("install-compiler", "apt-get install -y gcc make libc6-dev bzip2 xz-utils"),
            (
                "compile",
                """
                tar xf lua5.4_*.orig.tar.*; mv lua-5.4* lua; make -C lua linux install
                tar xf zlib_*.orig.tar.*; mv zlib-*/ zlib; cd zlib; ./configure; make""",
            ),
            ("install-python", "apt-get install -y python3-docutils"),
            (
                "git-import",
                """
                git config --global user.name me; git config --global user.email me@localhost
                cp -r /usr/include .; git init -q .; git add lua zlib include; git commit -qm import""",
            ),
            ("byte-compile", "python3 -m compileall -qf /usr/lib/python3 /usr/lib/python3.*"),
            ("develop", DEVELOP.format(tasks=36, seed=1)),
            ("reinstall", "apt-get remove -y vim; apt-get install -y --reinstall gcc-12; apt-get clean"),
            REBOOT,
            ("develop-again", DEVELOP.format(tasks=15, seed=2)),
            ("verify", "dpkg -V gcc-12 perl-base git python3-docutils || true; git fsck"),
        ],
    },
    "database": {
        "installed": ["postgresql"],
        "sources": [],
        "downloaded": [],
        "steps": [
            (
                "configure",
                """
                cat >$(echo /etc/postgresql/*/main/conf.d)/small.conf <<END
                shared_buffers = 16MB
                maintenance_work_mem = 32MB
                max_wal_size = 128MB
                checkpoint_timeout = 60s
                jit = off
                END
                cat >/usr/local/bin/shop <<'END'
                #!/bin/sh
                # shop [N]: runs the SQL on standard input, N times over
                cd /tmp; sql=$(cat); for i in $(seq ${1:-1}); do echo "$sql"; done |
                    runuser -u postgres -- psql -qv ON_ERROR_STOP=1 shop
                END
                chmod +x /usr/local/bin/shop; systemctl restart postgresql
                cd /tmp; runuser -u postgres createdb shop; shop <<'END'
                -- one of 1..n, the popular tenth of them more than half of the time
                create function hot(n int) returns int language sql volatile as
                    'select (floor(n * random()^4)::bigint * 7919 % n)::int + 1';
                create table customer (id int primary key, email text, balance int, note text);
                create table orders (id serial, customer int, placed timestamp, amount int, items text);
                alter role postgres set enable_hashjoin = off;
                alter role postgres set enable_mergejoin = off;
                END""",
            ),
            (
                "generate",
                """
                shop <<'END'
                copy (select i, md5(i::text) || '@example.org', 0, repeat(md5((-i)::text), 4)
                      from generate_series(1, 200000) i) to '/tmp/customer.csv' csv;
                copy (select i, 1 + (random() * 199999)::int, timestamp '2020-01-01' + i * interval '2 minutes',
                             (random() * 10000)::int, repeat(md5(i::text), 1 + i % 3)
                      from generate_series(1, 500000) i) to '/tmp/orders.csv' csv;
                END""",
            ),
            (
                "import",
                """
                echo "copy customer from '/tmp/customer.csv' csv; copy orders from '/tmp/orders.csv' csv" | shop
                rm /tmp/*.csv""",
            ),
            (
                "index",
                """
                shop <<'END'
                select setval('orders_id_seq', max(id)) from orders;
                create unique index on orders (id); create index on orders (customer);
                create index on orders (placed); create index on customer (email); analyze;
                END""",
            ),
            (
                "look-up",
                f"""
                shop 16 <<'END'
                {LOOK_UP}
                select count(items) from (select timestamp '2021-11-20' - random()^3 * interval '680 days' t) r
                    join orders on placed between t and t + interval '7 days';
                END""",
            ),
            (
                "update",
                """
                shop 4 <<'END'
                update customer set balance = balance + 1
                    where id in (select hot(200000) from generate_series(1, 1000));
                insert into orders select nextval('orders_id_seq'), hot(200000), now(), 1, md5(random()::text)
                    from generate_series(1, 1000);
                delete from orders where id in (select hot(500000) from generate_series(1, 200));
                END""",
            ),
            (
                "transactions",
                r"""
                cat >/tmp/sale.sql <<'END'
                \set id permute(random_zipfian(1, 200000, 1.05), 200000)
                begin;
                select balance from customer where id = :id;
                update customer set balance = balance - 1 where id = :id;
                insert into orders values (default, :id, now(), 1, 'sale');
                commit;
                select sum(amount) from orders where customer = :id;
                END
                echo "alter database shop set log_min_duration_statement = 0" | shop; cd /tmp
                runuser -u postgres -- /usr/lib/postgresql/*/bin/pgbench -n -c 4 -T 60 -f sale.sql shop""",
            ),
            (
                "rotate-logs",
                """
                logrotate -f /etc/logrotate.d/postgresql-common
                for i in $(seq 2000); do echo "message $i of a chatty service"; done | logger
                journalctl --rotate; journalctl --vacuum-size=8M""",
            ),
            ("vacuum", "echo 'vacuum analyze customer' | shop"),
            ("dump", "cd /tmp; runuser -u postgres -- pg_dump -Fc -Z1 shop >/var/backups/shop.dump"),
            REBOOT,
            (
                "look-up-again",
                f"""
                shop 8 <<'END'
                {LOOK_UP}
                END""",
            ),
            (
                "report",
                """
                shop <<'END'
                select date_trunc('month', placed), sum(amount), count(*) from orders group by 1 order by 1;
                create table best as select customer, sum(amount) from orders where customer < 15000 group by 1;
                END""",
            ),
        ],
    },
}
