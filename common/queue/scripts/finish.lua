-- Moves leased jobs to done and adds their numbers to their albums' sums.
-- KEYS: leased, leases, settled, settled:old, log, then album, done, sums per album. ARGV: number of
-- jobs (at most 256), then per job: job, token, which of the albums (from 0), index, record ("" for
-- none), number of sums, and name and number per sum.
-- Returns a number per job: 1, also when this token finished it before; 0 when the lease is another's.
local leased, leases, settled, settled_old, log = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call, EXACT = redis.call, 2 ^ 53 -- Lua's numbers are whole up to here
--! include settled.lua

local function read()
    local jobs, at = {}, 2
    for i = 1, tonumber(ARGV[1]) do
        local sums = tonumber(ARGV[at + 5])
        jobs[i] = {id = ARGV[at], token = ARGV[at + 1], album = tonumber(ARGV[at + 2]),
            index = ARGV[at + 3], record = ARGV[at + 4], first = at + 6, last = at + 5 + 2 * sums}
        at = jobs[i].last + 1
    end
    return jobs
end

-- Takes out of the workers' hands what is theirs to finish; returns it by album.
local function take(jobs, reply)
    local ids, outcomes, by_album, twice = {}, {}, {}, {}
    for i, job in ipairs(jobs) do ids[i] = job.id end
    local values = call('HMGET', leased, unpack(ids))
    ids = {}
    for i, job in ipairs(jobs) do
        local token, value = job.token, values[i]
        if twice[token] then
            reply[i] = 1
        elseif value and string.sub(value, 1, #token + 1) == token .. ' ' then
            ids[#ids + 1] = job.id
            outcomes[#outcomes + 1] = token
            outcomes[#outcomes + 1] = 'done'
            by_album[job.album] = by_album[job.album] or {}
            table.insert(by_album[job.album], job)
            reply[i], twice[token] = 1, true
        else
            reply[i] = settled_as(token) == 'done' and 1 or 0
        end
    end
    if #ids > 0 then
        call('HDEL', leased, unpack(ids))
        call('ZREM', leases, unpack(ids))
        settle(outcomes)
    end
    return by_album
end

-- pcall: a sum that would overflow stays as it is; the move must not stop half way.
local function add(sums, name, number)
    redis.pcall('HINCRBY', sums, name, number)
end

-- Adds up what fits into Lua's numbers, so that many jobs cost one write per sum; the rest goes
-- straight to Redis, whose numbers have 64 bits.
local function collect(totals, sums, job)
    for i = job.first, job.last, 2 do
        local name, text = ARGV[i], ARGV[i + 1]
        local number, total = tonumber(text), totals[name] or 0
        if math.abs(number) + math.abs(total) >= EXACT then
            add(sums, name, text)
        else
            totals[name] = total + number
        end
    end
end

-- The bit of a photo cannot be set while it is leased, unless someone edited keys by hand. If it is,
-- the photo was counted as done already and leaving `leased` is what balances the books.
local function finish(album, done, sums, jobs)
    local bits, totals, new = {}, {}, 0
    for _, job in ipairs(jobs) do
        local n = #bits
        bits[n + 1], bits[n + 2], bits[n + 3], bits[n + 4] = 'SET', 'u1', job.index, '1'
    end
    call('HINCRBY', album, 'leased', -#jobs)
    for i, was in ipairs(call('BITFIELD', done, unpack(bits))) do
        if was == 0 then
            new = new + 1
            collect(totals, sums, jobs[i])
            if jobs[i].record ~= '' then
                call('XADD', log, 'MAXLEN', '~', 100000, '*', 'job', jobs[i].id, 'record',
                    jobs[i].record)
            end
        end
    end
    if new > 0 then call('HINCRBY', album, 'done', new) end
    for name, total in pairs(totals) do add(sums, name, string.format('%.0f', total)) end
end

local reply = {}
for album, jobs in pairs(take(read(), reply)) do
    local at = 6 + 3 * album
    finish(KEYS[at], KEYS[at + 1], KEYS[at + 2], jobs)
end
return reply
