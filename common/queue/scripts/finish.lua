-- Moves leased jobs to done and adds their numbers to their albums' sums.
-- KEYS: leased, leases, settled, settled:old, log, then album, done, sums per album. ARGV: number of
-- jobs (at most 256), then them in runs of one album under one token prefix: which of the albums (from 0), its id, the
-- prefix, number of jobs, then index and sequence per job. Then what goes with some of them: place (from 1) in the order
-- of jobs, record ("" for none), number of sums, and name and number per sum.
-- Returns a number per job: 1, also when this token finished it before; 0 when the lease is another's.
local leased, leases, settled, settled_old, log = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call, EXACT = redis.call, 2 ^ 53 -- Lua's numbers are whole up to here
--! include settled.lua

local ids, runs = {}, {} -- jobs' ids; runs with the place of their first job among them, and of its index in ARGV
local extra = {} -- by job, where in ARGV is what goes with it

local function read()
    local at, wanted = 2, tonumber(ARGV[1])
    while #ids < wanted do
        local run = {album = tonumber(ARGV[at]), prefix = ARGV[at + 2], first = #ids + 1, at = at + 4}
        local job, last = ARGV[at + 1] .. ':', at + 3 + 2 * tonumber(ARGV[at + 3])
        for i = at + 4, last, 2 do ids[#ids + 1] = job .. ARGV[i] end
        run.last, at = #ids, last + 1
        runs[#runs + 1] = run
    end
    while at < #ARGV do
        extra[tonumber(ARGV[at])] = at + 1
        at = at + 3 + 2 * tonumber(ARGV[at + 2])
    end
end

-- What may be finished: the jobs' ids; by album, their places among all jobs and their indexes; and the bits that make
-- their tokens known as finished, by field.
local taken, is_taken, by_album, done_bits = {}, {}, {}, {}

local function take(run, i, at)
    local album = by_album[run.album] or {jobs = {}, indexes = {}}
    local n = #album.jobs + 1
    taken[#taken + 1], is_taken[ids[i]], by_album[run.album] = ids[i], true, album
    album.jobs[n], album.indexes[n] = i, ARGV[at] + 0 -- takes half the time of tonumber()
    local field, bit = field_of(run.prefix, ARGV[at + 1] + 0)
    local bits = done_bits[field] or tonumber(call('HGET', settled, field) or 0)
    done_bits[field] = has(bits, bit) and bits or bits + bit
end

-- Looks at the jobs of a run. A job that is there twice is taken once.
local function look(run, values, reply)
    for i = run.first, run.last do
        local at = run.at + 2 * (i - run.first)
        local value, sequence = values[i], ARGV[at + 1]
        if value and string.find(value, run.prefix .. sequence .. ' ', 1, true) == 1 then
            if not is_taken[ids[i]] then take(run, i, at) end
            reply[i] = 1
        else
            reply[i] = settled_as(run.prefix, sequence) == 'done' and 1 or 0
        end
    end
end

-- Takes them out of their worker's hands. A deletion first: a server that is full must let photos be finished.
local function take_out()
    if #taken == 0 then return end
    call('HDEL', leased, unpack(taken))
    call('ZREM', leases, unpack(taken))
    local outcomes = {}
    for field, bits in pairs(done_bits) do
        outcomes[#outcomes + 1] = field
        outcomes[#outcomes + 1] = string.format('%.0f', bits)
    end
    settle(outcomes)
end

-- pcall: a sum that would overflow stays as it is; the move must not stop half way.
local function add(sums, name, number)
    redis.pcall('HINCRBY', sums, name, number)
end

-- Adds up what fits into Lua's numbers, so that many jobs cost one write per sum; the rest goes
-- straight to Redis, whose numbers have 64 bits.
local function collect(totals, sums, first, count)
    for i = first, first + 2 * count - 1, 2 do
        local name, text = ARGV[i], ARGV[i + 1]
        local number, total = tonumber(text), totals[name] or 0
        if math.abs(number) + math.abs(total) >= EXACT then
            add(sums, name, text)
        else
            totals[name] = total + number
        end
    end
end

-- Sets the jobs' bits, by indexes that follow each other (at most LONGEST, so that such bits are a whole number in Lua and in
-- BITFIELD), and returns the jobs whose bit was not set before. A leased photo's bit is not set, unless someone edited keys
-- by hand: then it was counted as done already, and leaving `leased` is what balances the books.
local LONGEST = 32
local function mark(done, jobs, indexes)
    local bits, lengths = {}, {}
    local i = 1
    while i <= #jobs do
        local first, n = indexes[i], 1
        while n < LONGEST and indexes[i + n] == first + n do n = n + 1 end
        local at = #bits
        bits[at + 1], bits[at + 2], bits[at + 3], bits[at + 4] =
            'SET', 'u' .. n, first, string.format('%.0f', 2 ^ n - 1)
        lengths[#lengths + 1] = n
        i = i + n
    end
    local new = {}
    i = 0
    for run, was in ipairs(call('BITFIELD', done, unpack(bits))) do
        for n = lengths[run] - 1, 0, -1 do
            i = i + 1
            if was == 0 or not has(was, 2 ^ n) then new[#new + 1] = jobs[i] end
        end
    end
    return new
end

local function finish(album, done, sums, jobs, indexes)
    local totals = {}
    call('HINCRBY', album, 'leased', -#jobs)
    local new = mark(done, jobs, indexes)
    for _, job in ipairs(new) do
        local at = extra[job]
        if at then
            collect(totals, sums, at + 2, tonumber(ARGV[at + 1]))
            if ARGV[at] ~= '' then
                call('XADD', log, 'MAXLEN', '~', 100000, '*', 'job', ids[job], 'record', ARGV[at])
            end
        end
    end
    if #new > 0 then call('HINCRBY', album, 'done', #new) end
    for name, total in pairs(totals) do add(sums, name, string.format('%.0f', total)) end
end

read()
local reply, values = {}, call('HMGET', leased, unpack(ids))
for _, run in ipairs(runs) do look(run, values, reply) end
take_out()
for number, album in pairs(by_album) do
    local at = 6 + 3 * number
    finish(KEYS[at], KEYS[at + 1], KEYS[at + 2], album.jobs, album.indexes)
end
return reply
